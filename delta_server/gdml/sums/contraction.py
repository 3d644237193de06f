"""The sum over training points, given in a symmetry-adapted basis, by NumPy or in compiled code.

Both add up, for queries x and training points x_m with weights w_m (`Expansion` has the formula), over all g of the
group; `Basis` says what the coefficients are and how ⟨x, P_g y⟩ comes of them.

Which is used was decided by measuring. NumPy's matrix products go through the training points twice and through
their own results a dozen times; at one structure the limit is then memory. The compiled form (`_compiled.c`) does all
that a few training points have to give while they and their results are in the cache, eight points to a vector where
the processor has AVX-512, four otherwise. It is built where there is a C compiler when the package is installed.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple, Protocol

from ..._types import FloatArray
from .basis import Basis

_KERNEL = 50  # flops for a training point and permutation: root, exponential, polynomials


class Sums(NamedTuple):
    """Energies and gradients of B queries."""

    energy: FloatArray  # (B,)
    gradient: FloatArray  # (B, D) −∂E/∂x, in the basis


class Work(NamedTuple):
    """What one query takes at least, its arithmetic and what is read of the training points."""

    flops: float
    bytes: float


class Contraction(Protocol):
    """Training points, and the sum over them."""

    backend: str

    @property
    def work(self) -> Work: ...

    @property
    def bytes_per_query(self) -> int:
        """Temporaries of a call, for one query."""
        ...

    def set_weights(self, weights: FloatArray, products: FloatArray, energy_weights: FloatArray | None) -> None:
        """Take weights (M, D), in the basis, x_m·w_m (M,), and the coefficients α (M,) of energy constraints: what is
        added up of those is α (k − 1)."""
        ...

    def __call__(self, query: FloatArray) -> Sums:
        """query: (B, D), in the basis."""
        ...


def work_of(basis: Basis, n_train: int) -> Work:
    """Products with descriptors and weights, transforms on the group, the kernel function; forward and back."""
    order = prod(t.shape[1] for t in basis.tables)
    products = sum(d * d * n for d, n in basis.shapes)
    transforms = 0.0 if order == 1 else order * sum(signs.sides for signs in basis.signs)
    flops = 2 * 2 * 2 * n_train * (products + transforms) + _KERNEL * n_train * order
    return Work(float(flops), float(2 * 8 * n_train * basis.order.size))
