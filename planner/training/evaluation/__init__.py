"""Evaluation of a planner on scenarios."""
