"""Store: the database, the blobs and the event log."""
