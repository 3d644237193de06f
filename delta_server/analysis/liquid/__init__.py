"""Many molecules in a cell: density, radial distribution functions, diffusion."""
