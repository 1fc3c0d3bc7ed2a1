"""Trained networks: evaluation, prediction, export."""
