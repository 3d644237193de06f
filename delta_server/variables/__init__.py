"""Collective variables: their definitions in YAML, values and gradients. Biases act on them, analyses show them."""
