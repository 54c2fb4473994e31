"""Training: from a snapshot to a fitted, calibrated model compiled into one graph."""
