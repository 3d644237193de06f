"""Inputs and jobs of simulations."""
