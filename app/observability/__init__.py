"""Logs, metrics, and the instrumentation of specialists."""
