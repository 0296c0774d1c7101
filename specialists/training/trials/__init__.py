"""Experiments: the effect of a change, measured on val."""
