"""Fitting of thresholds, temperatures, label sets, intervals and admission limits."""
