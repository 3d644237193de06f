"""Free energies along collective variables."""
