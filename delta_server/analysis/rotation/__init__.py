"""How a guest turns in its host."""
