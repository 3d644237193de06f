"""Command line: one file per command. Only this layer prints and exits."""
