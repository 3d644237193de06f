"""The commands that make models and tell how good they are."""
