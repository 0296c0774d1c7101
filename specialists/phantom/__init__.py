"""Drawn ultrasound images whose correct answers are known."""
