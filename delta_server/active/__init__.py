"""Which configurations are worth labelling next."""
