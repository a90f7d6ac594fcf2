"""JSON lines, JSON lists and Arrow tables: blocks of their columns, and the class names kept with them."""

from __future__ import annotations

import itertools
import json
from codecs import BOM_UTF8 as BOM
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from typing import Any

import pyarrow

from trainers.source import Source, TaskError, quoted, swollen
from trainers.swelling import cut
from trainers.unpacking import Swollen, most_bytes

SNIFFED_BYTES = 1 << 16
BLOCK_ROWS = 10_000


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


def read_objects(source: Source, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Blocks of the wanted keys as Python values; None where an object lacks one."""
    found = objects(source)
    while block := list(itertools.islice(found, BLOCK_ROWS)):
        yield {name: [item.get(name) for item in block] for name in wanted}


def read_table(source: Source, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    assert source.table is not None
    names = class_names(source.table.schema)
    rows = source.table.select(list(wanted)).to_batches(max_chunksize=BLOCK_ROWS)
    yield from blocks_of(source, rows, wanted, names)


def blocks_of(
    source: Source,
    batches: Iterable[pyarrow.RecordBatch],
    wanted: Sequence[str],
    names: Mapping[str, Sequence[str]],
) -> Iterator[dict[str, Any]]:
    """Blocks of the batches' columns, with the names of the classes in place of their numbers.

    Raises:
        TaskError: if they cannot be read, or are over 200 times larger than the file once they are.
    """
    try:
        for batch in cut(batches, most_bytes(source.size)):
            yield {
                name: named(batch.column(name), names[name]) if name in names else decoded(batch.column(name))
                for name in wanted
            }
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TaskError(unreadable(source, error)) from error
    except Swollen:
        raise TaskError(swollen(source)) from None


def decoded(values: pyarrow.Array) -> pyarrow.Array:
    return values.dictionary_decode() if pyarrow.types.is_dictionary(values.type) else values


def named(values: pyarrow.Array, names: Sequence[str]) -> list[Any]:
    """Numbers of classes, or lists of them, as names; -1 marks a row without a label."""

    def name(number: Any) -> Any:
        if isinstance(number, list):
            return [name(one) for one in number]
        if not isinstance(number, int) or number >= len(names):
            return number
        return None if number < 0 else names[number]

    return [name(number) for number in values.to_pylist()]


def class_names(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """Column -> the names of its `ClassLabel` classes, which `datasets` keeps beside an Arrow schema."""
    kept = (schema.metadata or {}).get(b"huggingface")
    try:
        features = {} if kept is None else json.loads(kept)["info"]["features"]
        found = {column: listed_feature(feature) for column, feature in features.items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}  # another library's words under the same key
    return {
        column: feature["names"]
        for column, feature in found.items()
        if feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def listed_feature(feature: Any) -> dict[str, Any]:
    """The feature itself, or that of a list's items, in the ways in which versions of `datasets` say it."""
    if isinstance(feature, list):
        feature = feature[0]
    inner: dict[str, Any] = feature.get("feature")
    own: dict[str, Any] = feature
    return inner if own.get("_type") in ("Sequence", "List", "LargeList") and inner else own


def unreadable(source: Source, error: Exception) -> str:
    if source.format == "parquet":
        return f"{source.name} is not a readable Parquet file ({quoted(error)}); write it again, or use JSONL"
    return f"{source.name} is not a readable table ({quoted(error)}); write it again, or use Parquet"
