"""Outlines by themselves: smoothness, shape, echoes behind them, and whether they can be true."""
