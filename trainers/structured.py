"""JSON lines, JSON lists and Parquet: their columns as Python values."""

from __future__ import annotations

import json
from codecs import BOM_UTF8 as BOM
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import Any

import pyarrow
import pyarrow.parquet

from trainers.source import Source, TaskError, quoted

SNIFFED_BYTES = 1 << 16


def objects(source: Source) -> Iterator[dict[str, Any]]:
    """The objects of JSON lines, or of a .json file that holds a list of them."""
    with source.open() as stream:
        is_list = (
            source.format == "json" and stream.read(SNIFFED_BYTES).removeprefix(BOM).lstrip()[:1] == b"["
        )
        stream.seek(0)
        # only \n ends a line: JSON may hold other separators inside a string
        text = TextIOWrapper(stream, encoding="utf-8-sig", newline="\n")
        if is_list:
            yield from listed_objects(source, text.read())
            return
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield checked_object(source, f"line {number:,}", parsed(source, line.rstrip(), number))


def listed_objects(source: Source, text: str) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(parsed(source, text, 1), start=1):
        yield checked_object(source, f"item {number:,}", item)


def checked_object(source: Source, where: str, item: Any) -> dict[str, Any]:
    if isinstance(item, dict):
        return item
    raise TaskError(
        f"{where} of {source.name} is not an object but {quoted(json.dumps(item))}; "
        f'write each example as {{"text": "...", "label": "..."}}'
    )


def parsed(source: Source, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line + error.lineno - 1:,}, column {error.colno:,}"
        reason = error.msg
    except (RecursionError, ValueError) as error:  # brackets nested too deep; a number of too many digits
        where, reason = f"line {line:,}", str(error)
    raise TaskError(
        f"{source.name} is not valid JSON at {where} ({quoted(reason)}); write one object on each line "
        f"(.jsonl), or a list of objects (.json)"
    )


def read_objects(source: Source, wanted: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    for item in objects(source):
        for name, column in columns.items():
            column.append(item.get(name))
    return columns


def parquet(source: Source) -> Any:
    try:
        return pyarrow.parquet.ParquetFile(source.path)
    except (pyarrow.ArrowException, OSError) as error:
        raise TaskError(not_parquet(source, error)) from error


def read_parquet(source: Source, wanted: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    with parquet(source) as file:
        try:
            for batch in file.iter_batches(columns=list(wanted)):
                for name, column in columns.items():
                    column.extend(batch.column(name).to_pylist())
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise TaskError(not_parquet(source, error)) from error
    return columns


def not_parquet(source: Source, error: Exception) -> str:
    return f"{source.name} is not a readable Parquet file ({quoted(error)}); write it again, or use JSONL"
