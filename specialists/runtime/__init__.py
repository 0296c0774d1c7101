"""Execution of networks in torch or OpenVINO: batches, compiled models, cached features."""
