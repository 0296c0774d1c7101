"""Train, calibrate, evaluate and install specialists."""
