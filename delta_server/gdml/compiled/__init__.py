"""The compiled module, and what stands in for it where there is none."""
