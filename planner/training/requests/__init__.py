"""Requests in words: a grammar, and requests by an independent writer."""
