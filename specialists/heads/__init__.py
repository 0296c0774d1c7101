"""Layers that answer: detect, segment, classify, regress."""
