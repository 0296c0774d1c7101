"""Measure speed, memory and storage of a deployment, and write docs/performance.md."""
