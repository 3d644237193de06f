"""The sum over training points and their permutations: one reference, and the fast forms of it."""
