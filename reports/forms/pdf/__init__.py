"""PDF/A of a report."""
