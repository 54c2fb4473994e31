"""Telling a receiver over HTTP what the event log holds."""
