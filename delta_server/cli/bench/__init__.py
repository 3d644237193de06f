"""The commands that measure time."""
