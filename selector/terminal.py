"""Where commands write: results to stdout, all else to stderr."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.console import Console

# What users wrote (names, folders, messages) is never read as markup.
out = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)


def refuse(message: str) -> NoReturn:
    """End the command with one line and exit status 2."""
    err.print(f"peltier: {message}", soft_wrap=True)
    raise typer.Exit(2)
