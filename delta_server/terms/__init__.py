"""Terms: what a potential is the sum of. `base` says what a term is; each kind has a module of its own."""
