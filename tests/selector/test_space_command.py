"""`peltier space`: what is searched, for people, programs and files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, Shell, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.narrowed import narrowed, searched_space
from selector.narrowing import Narrowing, read_space
from selector.space import space_of
from selector.space_text import as_toml
from storage.database import open_database
from trainers.method import METHODS

NAMES = [name for name, method in METHODS.items() if method.searched != "never"]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_the_table_has_methods_fields_values_defaults_and_conditions(shell: Shell) -> None:
    said = shell(*"space --methods lora,prefix --fix lora.rank=8 --range learning_rate=1e-3:5e-3".split())
    assert (said.status, said.err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.out.splitlines()]
    assert ["lora", "learning_rate", "0.001 to 0.005, on a log scale", "0.002", ""] in rows
    assert ["", "rank", "8", "8", ""] in rows
    assert ["", "mlp_width", "16 to 1024, on a log scale", "512", "with reparametrised true"] in rows


def test_json_says_the_same(shell: Shell) -> None:
    found = json.loads(shell("space", "--methods", "prefix", "--fix", "prefix_length=4", "--json").out)[
        "methods"
    ]
    assert found["prefix"]["prefix_length"] == {"searched": 4, "default": 4, "counts": "always"}
    assert found["prefix"]["learning_rate"]["searched"] == {"low": 1e-3, "high": 5e-2}
    assert found["prefix"]["mlp_width"]["counts"] == "with reparametrised true"


def test_fields_that_can_no_longer_count_are_not_shown(shell: Shell) -> None:
    options = ("--methods", "prefix", "--fix", "prefix.reparametrised=false", "--json")
    assert "mlp_width" not in json.loads(shell("space", *options).out)["methods"]["prefix"]


def test_the_backbone_narrows_the_space(shell: Shell, tiny_folder: Path) -> None:
    options = (
        "space",
        "--methods",
        "compacter",
        "--backbone",
        str(tiny_folder),
        "--fix",
        "layers=0 1",
        "--json",
    )
    found = json.loads(shell(*options).out)["methods"]["compacter"]
    assert found["layers"]["searched"] == "0 1"
    said = shell("space", "--backbone", str(tiny_folder), "--fix", "lora.layers=7")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("peltier: lora.layers 7 is not possible: ") and said.err.count("\n") == 1


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_printed_file_is_read_as_the_same_space(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from([*NAMES, "peft:OFT"]), min_size=1, max_size=4, unique=True))
    options: Narrowing = data.draw(
        st.sampled_from(
            [
                {},
                {"all": {"weight_decay": 0.01}},
                {"all": {"learning_rate": [1e-3, 2e-3]}},
                {"all": {"learning_rate": {"low": 1e-3, "high": 5e-3}}},
            ]
        )
    )
    options = {} if "full" in names else options
    space, _ = searched_space(names, options, ())
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(as_toml(space), encoding="utf-8")
    read = read_space(path)
    again, _ = searched_space(read.methods, read.narrowing, ())
    assert again == space


def test_a_conditional_space_survives_its_file(tmp_path: Path) -> None:
    whole = space_of([METHODS["unipelt"], METHODS["prefix"]])
    asked: Narrowing = {
        "unipelt": {"modules": ["AP", "ABI"], "gates": "none", "layers": ["0 2", "all"], "bottleneck": 8},
        "prefix": {"reparametrised": False, "positions": ["unshifted", "shifted"]},
    }
    space = narrowed(whole, asked)
    (tmp_path / "space.toml").write_text(as_toml(space), encoding="utf-8")
    assert narrowed(whole, read_space(tmp_path / "space.toml").narrowing) == space


def test_options_count_before_the_file(shell: Shell) -> None:
    Path("space.toml").write_text('methods = ["lora"]\n[lora]\nrank = 4\nalpha = 8\n')
    found = json.loads(shell(*"space --space space.toml --fix rank=16 --json".split()).out)["methods"]
    assert list(found) == ["lora"]
    assert (found["lora"]["rank"]["searched"], found["lora"]["alpha"]["searched"]) == (16, 8.0)
    said = shell(*"space --space space.toml --methods adapter".split())
    assert said.status == 2 and "fields of lora are narrowed, but it is not searched here" in said.err


def test_it_starts_without_optuna_ray_and_transformers(tmp_path: Path) -> None:
    script = """
import sys
from selector.__main__ import app
app(["space", "--fix", "lora.rank=8", "--toml"], standalone_mode=False)
print("loaded:", sys.modules.keys() & {"ray", "optuna", "transformers", "sklearn"})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "rank = 8  # default 8" in done.stdout and done.stdout.endswith("loaded: set()\n")


# ------------------------------------------------------------------------------------- searches


def test_a_search_in_a_narrowed_space_ends_when_all_of_it_was_tried(shell: Shell, tiny_folder: Path) -> None:
    write_rows(Path("rows.csv"))
    Path("space.toml").write_text(
        "[lora]\nalpha = 16\nlearning_rate = 2e-3\ntargets = 'query value'\ndropout = 0.0\n"
        "rslora = false\ndora = false\nb_rate = 1\n[all]\nweight_decay = 0\nlayers = 'all'\n"
        "warmup = 0.06\nclass_weights = 'none'\n"
    )
    done = shell(
        *f"search rows.csv --backbone {tiny_folder} --methods lora --space space.toml --name few".split(),
        *"--range lora.rank=2,4 --trials 9 --epochs 2 --seeds 1 --runner local".split(),
        *"--folds 1 --no-full-finetuning --json".split(),
    )
    assert done.status == 0, done.err
    assert "the space holds 2 configurations; the search ends with those" in done.err
    study = json.loads(done.out)
    assert [trial["config"]["rank"] for trial in study["trials"]] == [4, 2]
    assert study["narrowing"]["lora"]["rank"] == [2, 4] and study["sampler"] == "tpe"
    assert study["message"] == "the space holds no more than the 2 configurations that were tried"
    shown = shell("show", "few").out
    assert "searched with lora.alpha 16, " in shown and "lora.rank 2 or 4" in shown
    assert "COMPLETE: the space holds no more than the 2 configurations" in shown


def test_an_impossible_narrowing_stores_nothing(shell: Shell, tiny_folder: Path, tmp_path: Path) -> None:
    write_rows(Path("rows.csv"))
    search = f"submit rows.csv --backbone {tiny_folder} --methods lora".split()
    for options in (
        ("--fix", "lora.rank=99"),
        ("--range", "prefix.prefix_length=1:4"),
        ("--space", "no.toml"),
    ):
        said = shell(*search, *options)
        assert (said.status, said.out) == (2, ""), options
        assert said.err.startswith("peltier: ") and said.err.count("\n") == 1, said.err
    assert (
        not Path("peltier.db").exists() or not open_database(f"sqlite:///{tmp_path / 'peltier.db'}").studies()
    )
