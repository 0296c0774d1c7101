"""Encoders: a convolutional trunk, and a vision transformer on it."""
