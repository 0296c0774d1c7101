"""Reading of data sets: CSV tables, splits, labels, packed images."""
