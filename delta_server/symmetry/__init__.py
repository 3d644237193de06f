"""Permutations of equal atoms as groups: their elements, factors, subgroups and representations."""
