"""Augmented batches for training."""
