"""HTML pages: worklist, report viewer, model cards, log-in and HTTP reference."""
