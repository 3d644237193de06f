"""What lies below the models: calculators and point charges, taken off the labels that they learn from."""
