"""Admission of images: whether an image is one that the specialists may read."""
