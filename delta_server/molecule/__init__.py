"""The molecule: its structure, its bonds, and whether it is still the same."""
