"""Datasets of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError

from trainers.source import TaskError, quoted, shown


def load(reference: str) -> Mapping[str, Any]:
    """Split -> dataset of `owner/name[:config]`, from the hub or from the cache of an earlier call.

    Raises:
        TaskError: if it cannot be fetched, does not exist, or needs a configuration.
    """
    name, _, config = reference.partition(":")
    try:
        found: Mapping[str, Any] = datasets.load_dataset(name, config or None)
        return found
    except ConnectionError as error:
        raise TaskError(
            f"{shown(reference)} is no file here, and the hub cannot be reached to look for a dataset of "
            f"that name (offline?); check the path, go online once so that it is cached, or "
            f"download its files"
        ) from error
    except DatasetNotFoundError as error:
        raise TaskError(
            f"{shown(reference)} is neither a file here nor a dataset on the hub that you may read; check "
            f"the spelling, or log in with: hf auth login"
        ) from error
    except Exception as error:  # loading runs many parsers, which raise what they please
        raise TaskError(
            f"the hub's dataset {shown(reference)} cannot be loaded ({quoted(error)}); name a configuration "
            f"as {shown(name)}:CONFIG, or download its files and give them"
        ) from error
