"""`delta-sgdml learn`."""
