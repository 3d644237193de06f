"""`delta-sgdml analyze`."""
