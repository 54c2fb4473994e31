"""Web: the HTTP service."""
