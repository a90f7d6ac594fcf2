"""docs/methods.md says what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import trainers.methods.bitfit
from trainers.catalogue import END, PAGE, START, page
from trainers.families import FAMILIES
from trainers.method import METHODS

TEXT = PAGE.read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of a table on the page, without its headings."""
    part = TEXT.split(f"### {heading}\n\n")[1].split("\n\n")[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def test_tables_are_up_to_date() -> None:
    assert page(TEXT) == TEXT, "run python -m trainers.catalogue"


def test_page_without_the_comments_is_refused() -> None:
    for text in ("no tables", START, END):
        with pytest.raises(ValueError, match="has no tables to renew"):
            page(text)


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("lora", "294,912"),  # UniPELT, Table 4, as are the next two
        ("adapter", "894,528"),
        ("prefix", "184,320"),
        ("unipelt", "1,410,672"),
        ("ia3", "55,296"),
        ("vera", "24,576"),
        ("compacter", "57,088"),
        ("linear_probe", "0"),
    ],
)
def test_parameters_in_the_table_are_the_published_ones(method: str, count: str) -> None:
    rows = {row[0]: row for row in table("Methods")}
    assert rows[f"`{method}`"][4] == count
    assert set(rows) == {f"`{name}`" for name in METHODS}


def test_sizes_of_forms_name_what_training_needs_more() -> None:
    sizes = {(method, form): size for method, form, size in table("Sizes of their forms")}
    assert sizes["`prefix`", "`reparametrised` True"] == "184,320 (9,857,024 while training)"
    assert sizes["`unipelt`", "`modules` AP"] == "1,097,304"
    assert sizes["`compacter`", "`placement` ffn"] == "28,576"


def test_every_family_stands_in_one_row_and_only_biases_are_missing() -> None:
    rows = table("What runs where")
    families = [family for row in rows for family in row[0].split(", ")]
    assert sorted(families) == sorted(FAMILIES)
    llama = next(row for row in rows if "llama" in row[0].split(", "))
    assert [cell for cell in llama[1:] if cell != "yes"] == [
        "no: lacks biases",
        "yes, without `modules` LB, APLB",
    ]


def test_conditions_of_fields_are_named() -> None:
    counts = {(method, field): condition for method, field, _, _, condition in table("Fields")}
    assert counts["`prefix`", "`mlp_width`"] == "with `reparametrised` True"
    assert counts["`unipelt`", "`gate_penalty`"] == "with `gates` APL"
    assert counts["`lora`", "`rank`"] == ""
    assert "sometimes" not in counts.values()


def test_the_example_of_a_method_is_the_code() -> None:
    example = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    assert without_docstrings(example[1]) == without_docstrings(
        Path(str(trainers.methods.bitfit.__file__)).read_text()
    )


def without_docstrings(code: str) -> list[str]:
    """The classes of a file, without their docstrings."""
    classes = [node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    for node in classes:
        if ast.get_docstring(node) is not None:
            del node.body[0]
    return [ast.unparse(node) for node in classes]
