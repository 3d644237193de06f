"""Learning pairs and triples of an assembly's molecules from the assembly's own dynamics."""
