"""`delta-sgdml dataset`."""
