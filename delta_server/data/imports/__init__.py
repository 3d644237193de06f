"""Data sets from other people's files."""

from ..conventions import FileUnits, Keys
from .combine import check_lengths, concatenate, import_files
from .isolated import with_isolated

__all__ = ["FileUnits", "Keys", "check_lengths", "concatenate", "import_files", "with_isolated"]
