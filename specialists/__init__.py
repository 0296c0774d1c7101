"""The closed set of tools that look at an image, on one frozen backbone."""
