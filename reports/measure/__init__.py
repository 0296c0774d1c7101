"""Measurements computed from boxes, outlines and points."""
