"""A store in memory in place of SQL and files: what a `Search` asks of them, a hundred times as fast."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from storage.records import Baseline, Report, State, Study, Trial

FINISHED = (State.COMPLETE, State.PRUNED, State.FAIL)


class MemoryDatabase:
    """One study; refuses, as the real one does, to change a finished trial or to take a number twice."""

    def __init__(self, spec: Mapping[str, Any], task: Mapping[str, Any]) -> None:
        self._study = Study(
            id=1, name="table", state=State.RUNNING, spec=spec, task=task, created=datetime.now(UTC)
        )
        self._trials: dict[int, Trial] = {}
        self._baselines: dict[str, Baseline] = {}

    def studies(self) -> list[Study]:
        return [self.study(1)]

    def study(self, study_id: int) -> Study:
        return replace(
            self._study,
            trials=tuple(self._trials[number] for number in sorted(self._trials)),
            baselines=tuple(self._baselines.values()),
        )

    def add_trials(self, study_id: int, new: Sequence[Trial]) -> None:
        for trial in new:
            assert trial.number not in self._trials, f"there is a trial {trial.number} already"
            self._trials[trial.number] = trial

    def start_trials(self, study_id: int, numbers: Iterable[int], bracket: int) -> None:
        for number in numbers:
            self._change(number, state=State.RUNNING, bracket=bracket)

    def record_rung(
        self,
        study_id: int,
        reports: Mapping[int, Report],
        states: Mapping[int, State],
        messages: Mapping[int, str] | None = None,
        latencies: Mapping[int, Mapping[str, Any]] | None = None,
        found: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        for number, columns in (found or {}).items():
            self._change(number, **columns)
        for number, report in reports.items():
            known = self._trials[number].reports
            assert report.rung not in {one.rung for one in known}, f"trial {number} has this rung already"
            self._change(number, reports=(*known, report))
        for number, message in (messages or {}).items():
            self._change(number, message=message)
        for number, latency in (latencies or {}).items():
            self._change(number, latency=latency)
        for number, state in states.items():
            self._change(number, state=state)

    def finish_trial(self, study_id: int, number: int, state: State, **found: Any) -> None:
        kept = {name: value for name, value in found.items() if value is not None}
        self._change(number, state=state, **kept)

    def add_baseline(self, study_id: int, baseline: Baseline) -> None:
        assert baseline.name not in self._baselines, f"there is a baseline {baseline.name} already"
        self._baselines[baseline.name] = baseline

    def files_in_use(self, hashes: Iterable[str]) -> set[str]:
        return set()

    def set_study_state(
        self, study_id: int, state: State, message: str | None = None, seconds: float | None = None
    ) -> None:
        message = self._study.message if message is None else message
        seconds = self._study.seconds if seconds is None else seconds
        self._study = replace(self._study, state=state, message=message, seconds=seconds)

    def _change(self, number: int, **values: Any) -> None:
        trial = self._trials[number]
        assert trial.state not in FINISHED, f"trial {number} is {trial.state} and never changes"
        self._trials[number] = replace(trial, **values)


class Content(bytes):
    """Bytes that can be read like a file."""

    def read_bytes(self) -> bytes:
        return bytes(self)


class MemoryFiles:
    """Content under its hash."""

    def __init__(self) -> None:
        self._contents: dict[str, Content] = {}

    def put(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        self._contents[name] = Content(content)
        return name

    def remove(self, content_hash: str) -> None:
        self._contents.pop(content_hash, None)

    def path(self, content_hash: str) -> Content:
        return self._contents[content_hash]
