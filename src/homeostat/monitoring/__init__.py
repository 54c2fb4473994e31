"""Monitoring: the durable log of predictions and what it says about the world."""
