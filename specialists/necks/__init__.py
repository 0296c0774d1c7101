"""Decoders between the backbone and a head."""
