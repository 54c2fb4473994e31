"""Simulation: a synthetic clinic and the demonstration that runs on it."""
