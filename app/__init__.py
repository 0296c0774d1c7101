"""The service: command line, web process, worker, and what they share."""
