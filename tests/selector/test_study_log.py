"""What a study logs: everything in its file, errors in one line on the terminal, warnings in neither."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path

import pytest
from optuna import logging as optuna_logging
from transformers import logging as transformers_logging

from selector.study_log import LOG, collected, pass_on, study_log


def test_libraries_write_into_the_file_and_only_errors_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "study.log"
    with study_log(path), warnings.catch_warnings():
        warnings.simplefilter("default")
        transformers_logging.get_logger("transformers.modeling").warning("some weights are new")
        optuna_logging.get_logger("optuna.samplers").warning("independent sampling")
        logging.getLogger("ray.tune").error("a trial task failed")
        warnings.warn("this will change", FutureWarning, stacklevel=1)
        transformers_logging.get_logger("transformers.hub").error("cannot read the file\nlong story")
        LOG.error("bracket 2 failed")
    assert capfd.readouterr().err.splitlines() == [
        f"cannot read the file (in full in {path})",
        "bracket 2 failed",
    ]
    written = path.read_text(encoding="utf-8")
    for text in (
        "some weights are new",
        "independent",
        "task failed",
        "will change",
        "long story",
        "bracket 2",
    ):
        assert text in written


def test_loggers_are_afterwards_as_they_were(tmp_path: Path) -> None:
    names = (None, "ray", "transformers", "optuna")

    def settings() -> list[tuple[object, ...]]:
        loggers = map(logging.getLogger, names)
        return [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]

    before = settings()
    with study_log(tmp_path / "study.log"):
        assert settings() != before
    assert settings() == before


def test_no_file_is_made_where_nothing_was_logged(tmp_path: Path) -> None:
    with study_log(tmp_path / "study.log"):
        pass
    assert not (tmp_path / "study.log").exists()


def test_an_error_in_a_worker_travels_with_its_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with collected() as log:
        try:
            raise KeyError("rank")
        except KeyError as error:
            LOG.exception("KeyError: %s", error)
    assert capfd.readouterr().err == ""
    (record,) = pickle.loads(pickle.dumps(log.take()))
    assert log.take() == []
    with study_log(tmp_path / "study.log"):
        pass_on(record)
    assert capfd.readouterr().err == f"KeyError: 'rank' (in full in {tmp_path / 'study.log'})\n"
    assert "Traceback" in (tmp_path / "study.log").read_text()
