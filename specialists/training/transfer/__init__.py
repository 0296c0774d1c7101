"""Left-out sources: train without a source, evaluate on it, keep the figures."""
