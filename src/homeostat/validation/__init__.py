"""Validation: what a row may be, and what the accepted rows look like."""
