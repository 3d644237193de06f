"""Which of the forms of the sum this machine has, and the fastest of them."""

from __future__ import annotations

from ..._types import FloatArray
from ..compiled.module import compiled_module
from .basis import Basis
from .compiled_sum import CompiledContraction
from .contraction import Contraction
from .numpy_sum import NumpyContraction


def contraction(basis: Basis, points: FloatArray, sigma: float, backend: str = "auto") -> Contraction:
    """The fastest that this machine has, or the one of this name: ``numpy``, or one of `backends`.

    Raises ImportError where that is not here.
    """
    here = backends()
    if backend not in ("auto", *here):
        raise ImportError(f"no backend {backend!r} here, expected one of {', '.join(here)}")
    name = here[-1] if backend == "auto" else backend
    if name == "numpy":
        return NumpyContraction(basis, points, sigma)
    return CompiledContraction(compiled_module(), name, basis, points, sigma)


def backends() -> list[str]:
    """``numpy`` and what the compiled module, where there is one, can do on this processor; the fastest last."""
    compiled = compiled_module()
    return ["numpy", *(name for name, _ in compiled.paths)] if compiled else ["numpy"]
