"""The sentences of a report, made from its results with fixed templates."""
