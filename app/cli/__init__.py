"""The command line, `ustri`."""
