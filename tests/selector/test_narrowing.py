"""What options and TOML files say of a space, as plain JSON and in words; no method is known here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.narrowing import combined, literal, read_options, read_space, searched_in_words, words
from selector.study import DataFile, RequestError, StudySpec


def test_options_become_plain_json() -> None:
    assert read_options(
        ["lora.rank=8", "weight_decay = 0.01", "lora.dora=true", "lora.layers=0 2 5", "peft:OFT.r=4"],
        ["lora.learning_rate=1e-4:5e-3", "lora.dropout=0.0,0.1", "unipelt.modules=AP,APL"],
    ) == {
        "lora": {
            "rank": 8,
            "dora": True,
            "layers": "0 2 5",
            "learning_rate": {"low": 1e-4, "high": 5e-3},
            "dropout": [0.0, 0.1],
        },
        "all": {"weight_decay": 0.01},
        "peft:OFT": {"r": 4},
        "unipelt": {"modules": ["AP", "APL"]},
    }


@pytest.mark.parametrize(
    ("fixed", "ranges", "message"),
    [
        (["rank"], [], "--fix rank is not understood; write it like --fix lora.rank=8"),
        (["lora.rank="], [], "--fix lora.rank= is not understood"),
        (["=8"], [], "--fix =8 is not understood"),
        ([], ["a.b.c=1:2"], "--range a.b.c=1:2 is not understood"),
        ([], ["lora.rank=8"], "leaves one value; write LOW:HIGH or .* or --fix lora.rank=8"),
        (["lora.rank=8"], ["lora.rank=4:16"], "lora.rank is narrowed twice"),
    ],
)
def test_an_option_of_another_form_is_refused_with_an_example(
    fixed: list[str], ranges: list[str], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        read_options(fixed, ranges)


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False)))
def test_numbers_and_truth_values_are_read_back_as_they_are_written(value: bool | int | float) -> None:
    assert literal(f" {value} ") == value and type(literal(str(value))) is type(value)


@given(st.text())
def test_no_text_is_too_odd_for_an_option(text: str) -> None:
    for fixed, ranges in (([text], []), ([], [text]), ([f"lora.rank={text}"], []), ([], [f"rank={text}"])):
        try:
            assert words(read_options(fixed, ranges))
        except RequestError as error:
            assert str(error)


def test_a_file_names_methods_and_what_is_left_of_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(
        'methods = ["lora", "peft:OFT"]\n'
        "[all]\nweight_decay = 0.0\n"
        "[lora]\nrank = [4, 8]\nlearning_rate = {low = 1e-3, high = 5e-3}\n"
        '["peft:OFT"]\noft_block_size = 32\n'
    )
    found = read_space(path)
    assert found.methods == ("lora", "peft:OFT")
    assert found.narrowing == {
        "all": {"weight_decay": 0.0},
        "lora": {"rank": [4, 8], "learning_rate": {"low": 1e-3, "high": 5e-3}},
        "peft:OFT": {"oft_block_size": 32},
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rank = 8", r"rank stands outside the tables; put fields under .* \[lora\], or under \[all\]"),
        ('methods = "lora"', "methods must be a list of names"),
        ("[lora", "cannot be read as TOML"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "space.toml"
    path.write_text(content)
    with pytest.raises(RequestError, match=message):
        read_space(path)
    with pytest.raises(RequestError, match="cannot be read"):
        read_space(tmp_path / "missing.toml")


def test_options_count_before_a_file() -> None:
    file = {"lora": {"rank": 4, "alpha": 16.0}, "adapter": {"bottleneck": 8}, "all": {"layers": "all"}}
    assert combined(file, {"lora": {"rank": 8}})["lora"] == {"rank": 8, "alpha": 16.0}
    assert combined(file, {"all": {"rank": 8, "bottleneck": 16}}) == {
        "lora": {"alpha": 16.0},
        "all": {"layers": "all", "rank": 8, "bottleneck": 16},
    }


def test_a_narrowing_is_said_in_one_line() -> None:
    narrowing = {
        "lora": {"rank": 8, "learning_rate": {"low": 1e-4, "high": 5e-3}, "layers": "0 2"},
        "all": {"weight_decay": [0.0, 0.1]},
    }
    said = "lora.rank 8, lora.learning_rate 0.0001 to 0.005, lora.layers '0 2', weight_decay 0 or 0.1"
    assert words(narrowing) == said
    assert words({"lora": {"dora": False, "rank": []}}) == "lora.dora false, lora.rank []"
    assert searched_in_words({"narrowing": narrowing, "sampler": "gp"}) == f"{said}, sampler gp"
    assert searched_in_words({}) == searched_in_words({"narrowing": {}, "sampler": "tpe"}) == ""


def test_a_request_keeps_its_narrowing_and_old_ones_have_none() -> None:
    spec = StudySpec(
        train=DataFile(name="t.csv"), backbone="b", narrowing={"lora": {"rank": [4, 8]}}, sampler="random"
    )
    assert StudySpec.from_json(spec.to_json()) == spec
    old = {k: v for k, v in spec.to_json().items() if k not in ("narrowing", "sampler")}
    assert StudySpec.from_json(old).narrowing == {} and StudySpec.from_json(old).sampler == "tpe"


def test_a_request_with_another_sampler_or_form_is_refused() -> None:
    with pytest.raises(RequestError, match="sampler 'cmaes' is unknown; samplers: tpe, random, gp, nsga2"):
        StudySpec(train=DataFile(name="t.csv"), backbone="b", sampler="cmaes")
    with pytest.raises(RequestError, match="a table of fields for each method"):
        StudySpec(train=DataFile(name="t.csv"), backbone="b", narrowing={"rank": 8})  # type: ignore[dict-item]
