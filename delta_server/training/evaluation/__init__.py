"""Errors of a model: on configurations that it has not seen, along its training set, expected."""
