"""The kernel system: the matrix, its factorisation, and iterative solutions beyond memory."""
