"""Prediction of data sets, and scores of predictions."""
