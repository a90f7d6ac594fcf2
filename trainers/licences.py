"""What a model folder says of its licence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load


def licence_of(folder: Path) -> str | None:
    """The licence in a model card's metadata, such as apache-2.0; None where no card states one."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    try:
        metadata: Any = metadata_load(path)
    except Exception:  # a card that others wrote may be anything, and YAML raises what it pleases
        return None
    stated = metadata.get("license") if isinstance(metadata, dict) else None
    return stated if isinstance(stated, str) else None
