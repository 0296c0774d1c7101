"""A study: the reports of one visit's images summed up, and compared with earlier ones."""
