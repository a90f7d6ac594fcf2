"""The one error of this package that a caller shows to a person."""

from __future__ import annotations


class StorageError(Exception):
    """The store cannot do what was asked; one line: what was given, what is possible, what to do."""
