"""Files: reading what cannot be trusted, writing whole or not at all."""
