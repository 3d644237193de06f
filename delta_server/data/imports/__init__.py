"""Data sets from other people's files."""

from ..conventions import FileUnits, Keys
from .combine import concatenate, import_files

__all__ = ["FileUnits", "Keys", "concatenate", "import_files"]
