"""A real search over methods of peft: one is exported and predicts, one cannot run on the backbone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import ROWS, Shell, write_rows

from selector.parameters import parameters
from selector.space import choose_methods, space_of
from storage.database import open_database
from storage.records import State
from trainers.backbone import outline


@pytest.fixture
def shell(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    write_rows(tmp_path / "rows.csv")
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_one_method_of_peft_is_trained_and_exported_while_another_fails_with_its_reason(
    shell: Shell, tiny_folder: Path, tmp_path: Path
) -> None:
    methods = "peft:oft,peft:ADAPTION_PROMPT"
    done = shell(
        *f"search rows.csv --backbone {tiny_folder} --methods {methods} --name one".split(),
        *"--trials 3 --epochs 2 --seeds 1 --folds 1 --runner local --json".split(),
    )
    assert done.status == 0, done.err
    database = open_database(f"sqlite:///{tmp_path / 'peltier.db'}")
    trials = database.find_study("one").trials
    failed = [trial for trial in trials if trial.state is State.FAIL]
    assert {trial.method for trial in failed} == {"peft:ADAPTION_PROMPT"}
    assert all(
        trial.message.startswith("PeftError: peft:ADAPTION_PROMPT does not run on a backbone of family bert:")
        for trial in failed
    )
    assert all(trial.trainable_parameters is None for trial in failed)

    complete = next(trial for trial in trials if trial.state is State.COMPLETE)
    assert complete.method == "peft:OFT"
    exported = shell(*f"export one module --trial {complete.number} --json".split())
    assert json.loads(exported.out)["difference"] <= 1e-4
    answers = shell(*"predict module rows.csv".split()).out.splitlines()
    assert len(answers) == ROWS and {json.loads(answer)["label"] for answer in answers} <= {"long", "short"}


def test_methods_of_peft_stand_beside_ours_in_the_space(tiny_folder: Path) -> None:
    sites = outline(str(tiny_folder)).sites
    methods, reasons = choose_methods(["peft:OFT", "lora", "peft:oft"], sites)
    assert [method.name for method in methods] == ["peft:OFT", "lora"] and reasons == []
    space = space_of(methods, sites)
    config = methods[0].from_values({"oft_block_size": 16, "learning_rate": 5e-3})
    assert parameters(config, space)[0]["peft:OFT.oft_block_size"] == 16
    # Blocks divide the widths, which are 32 and 64 here.
    assert space.domains["peft:OFT"]["oft_block_size"].options == (8, 16, 32)


def test_a_method_of_peft_is_left_out_where_its_places_are_missing(tiny_folder: Path) -> None:
    sites = [site for site in outline(str(tiny_folder)).sites if site.role != "value"]
    assert choose_methods(["peft:OFT", "peft:PROMPT_TUNING"], sites)[1] == [
        "peft:OFT is left out: the backbone does not offer value"
    ]


def test_a_wrong_name_of_peft_is_refused_with_the_possible_ones() -> None:
    with pytest.raises(ValueError, match="of peft's methods there are peft:ADALORA, .*peft:WAVEFT"):
        choose_methods(["peft:NONE"], ())
