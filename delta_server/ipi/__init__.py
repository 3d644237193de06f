"""i-PI's own formats: its input, its property tables, its trajectories and extras."""
