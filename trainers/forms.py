"""The forms in which a user gives data: a file, a saved dataset, a hub id, an object in Python."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow

from trainers.source import FORMATS, Source, TaskError, ending_of, listed, open_source, quoted, shown

Given = Any
"""A path (of a file or a folder of `save_to_disk`), a hub id `owner/name[:config]`, a pandas DataFrame, a
`datasets.Dataset` or `DatasetDict`, or an Arrow table."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val", "validation_matched"),
    "test": ("test", "test_matched"),
}
"""Split -> the names that it has in datasets; MultiNLI's matched part is the one that GLUE reports first."""


def open_splits(given: Given) -> dict[str, Source]:
    """The sources of the splits in what was given; one table is the training split.

    Raises:
        TaskError: if it cannot be read, or has several splits and none is for training.
    """
    if isinstance(given, str | Path):
        return open_path(given)
    if isinstance(given, Mapping):
        return named_splits("the dataset", {name: source_of(rows) for name, rows in given.items()})
    return {"train": source_of(given)}


def open_one(given: Given, split: str) -> Source:
    """The source of one split: the only one there is, or the one with that name.

    Raises:
        TaskError: as `open_splits` does.
    """
    found = open_splits(given)
    return found[split] if split in found else found["train"]


def open_path(given: str | Path) -> dict[str, Source]:
    path = Path(given)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:  # such as a name that is too long
        name, reason = shown(str(given)), error.strerror or "unreadable"
        raise TaskError(f"{name} cannot be a file ({reason}); check the path") from error
    if is_folder:
        return open_folder(path)
    if not exists and HUB_ID.fullmatch(str(given)) and ending_of(path).lower() not in FORMATS:
        # datasets takes a second to import, and few studies need it
        loaded = importlib.import_module("trainers.hub").load(str(given))
        title = str(given).rpartition("/")[2].replace(":", "-")
        splits = {name: source_of(rows, f"{given} ({name})", title) for name, rows in loaded.items()}
        return named_splits(str(given), splits)
    return {"train": open_source(path)}


def open_folder(folder: Path) -> dict[str, Source]:
    """The splits of a folder that `datasets.save_to_disk` wrote."""
    index = folder / "dataset_dict.json"
    if index.is_file():
        names = parsed(index)["splits"]
        return named_splits(str(folder), {name: saved(folder / name, folder.name) for name in names})
    if (folder / "state.json").is_file():
        return {"train": saved(folder, folder.name)}
    raise TaskError(
        f"{shown(str(folder))} is a folder, not a file, and no dataset that was written by save_to_disk; "
        f"give one of the files in it ({listed(FORMATS)})"
    )


def saved(folder: Path, title: str) -> Source:
    """One saved split, memory-mapped."""
    name = shown(str(folder))
    files = [part["filename"] for part in parsed(folder / "state.json")["_data_files"]]
    if not files or any(Path(file).name != file or Path(file).suffix != ".arrow" for file in files):
        raise TaskError(f"{name} names no data file of its own in state.json; save the dataset again")
    parts = [open_source(folder / file).table for file in files]
    try:
        table = pyarrow.concat_tables(parts)
    except pyarrow.ArrowException as error:
        raise TaskError(
            f"the files of {name} do not fit together ({quoted(error)}); save the dataset again"
        ) from error
    return Source(name, "table", None, table=table, title=shown(title))


def parsed(file: Path) -> Any:
    try:
        found = json.loads(file.read_bytes())
        key = "splits" if file.name == "dataset_dict.json" else "_data_files"
        if all(isinstance(part, str if key == "splits" else dict) for part in found[key]):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise TaskError(f"{shown(str(file))} is missing or damaged; write the dataset again with save_to_disk")


def named_splits(name: str, sources: Mapping[str, Source]) -> dict[str, Source]:
    """The splits by our names for them; a single one is for training, whatever its name."""
    if len(sources) == 1:
        return {"train": next(iter(sources.values()))}
    found = {
        split: sources[names[0]]
        for split, known in SPLIT_NAMES.items()
        if (names := [each for each in known if each in sources])
    }
    if "train" not in found:
        raise TaskError(
            f"{shown(name)} has the splits {listed(map(quoted, sources), 20)} and none of them is 'train'; "
            f"give the splits one by one as files or objects"
        )
    return found


def source_of(rows: Given, name: str = "", title: str = "data") -> Source:
    """The source of an object in Python.

    Raises:
        TaskError: if it is none of the possible ones, or a column mixes types.
    """
    name = name or f"the {type(rows).__name__}"
    if isinstance(rows, pyarrow.Table):
        return Source(name, "table", None, table=rows, title=title)
    if hasattr(rows, "iloc") and hasattr(rows, "columns"):  # pandas.DataFrame, without its import
        return Source(name, "table", None, table=table_of_frame(rows, name), title=title)
    if hasattr(rows, "with_format") and hasattr(rows, "features"):  # datasets.Dataset, without its import
        table = rows.with_format("arrow")[:].replace_schema_metadata(rows.features.arrow_schema.metadata)
        return Source(name, "table", None, table=table, title=title)
    raise TaskError(
        f"{quoted(rows)} is a {type(rows).__name__}; give a path, a hub id such as 'owner/name', a pandas "
        f"DataFrame, a datasets.Dataset or DatasetDict, or a pyarrow Table"
    )


def table_of_frame(frame: Any, name: str) -> pyarrow.Table:
    try:
        return pyarrow.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
    except (pyarrow.ArrowException, ValueError) as error:
        raise TaskError(
            f"{name} has a column that mixes types ({quoted(error)}); convert it, for example with "
            f".astype(str)"
        ) from error
