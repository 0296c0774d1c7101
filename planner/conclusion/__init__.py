"""Findings, measurements, checks and the report, derived from the specialists' results."""
