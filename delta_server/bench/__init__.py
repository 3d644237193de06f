"""Measurements of time: predictions, dynamics, training."""
