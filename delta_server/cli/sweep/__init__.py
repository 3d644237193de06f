"""`delta-sgdml sweep`."""
