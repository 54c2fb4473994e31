"""Homeostat: a learning service for tabular data that keeps itself valid."""

__version__ = "0.1.0"
