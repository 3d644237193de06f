"""Data sets: made, labelled, imported, looked at, checked and divided."""
