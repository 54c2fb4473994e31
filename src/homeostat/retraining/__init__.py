"""Retraining: when to train again, and one attempt at it."""
