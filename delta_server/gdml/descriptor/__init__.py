"""The descriptor of a molecule: pairs of atoms, the law of each distance, its derivatives."""
