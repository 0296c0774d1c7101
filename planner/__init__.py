"""Decide which exam an image is of, which steps are legal, and which comes next."""
