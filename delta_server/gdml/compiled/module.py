"""The compiled module, where the package was installed with a C compiler at hand."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


@cache
def compiled_module() -> Any:
    """`_compiled` (see _compiled.c), or None: then NumPy does the same, more slowly."""
    try:
        return import_module("._compiled", __package__)
    except ImportError:
        return None
