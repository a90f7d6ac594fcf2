"""What the command line and the dashboard call: submit, run, look up, export."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from selector.budget import Clock
from selector.checking import Checked, check_data, stop_on_errors
from selector.data import DataFiles, keep, read, read_kept
from selector.decision import decide, left_module, module_to_export, test_scores
from selector.environment import leave_loopback
from selector.finite import fewer_than
from selector.fitting import fitting_of
from selector.full_finetuning import proposed
from selector.jobs import Bench, Runner
from selector.meta_features import of_task
from selector.narrowed import searched_space
from selector.objectives import front_of
from selector.placement import ClusterError
from selector.report import result
from selector.runners.local import LocalRunner
from selector.search import Search, SearchError
from selector.space import Space
from selector.study import RequestError, StudySpec
from selector.study_log import LOG, study_log
from storage.database import open_database
from storage.files import Files, files_folder
from storage.records import Export, State, Study
from trainers.backbone import load as load_backbone
from trainers.backbone import outline
from trainers.checkpoint import BITS
from trainers.data import prepare
from trainers.export import module_from_bytes, write_export
from trainers.pruning import Pruned, prune
from trainers.task import Task

FORMATS = ("native",)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_request(given: DataFiles, spec: StudySpec, *, force: bool = False) -> Checked:
    """Everything that can be wrong with a request, found before anything is stored.

    With `force` an error that the checks find in the data does not stop it.

    Raises:
        TaskError, BackboneError, RequestError: with a message for the user.
    """
    task = read(given, spec)
    if task.folds is not None and spec.patience is not None:
        raise RequestError(
            "--patience needs a validation split, and so few rows are trained in folds; pass --validation, "
            "or --folds 1 to have a split made"
        )
    fitting_of(spec, space_for(spec, task)[0], task.outputs)
    # Broken weights are found now, not by the first worker.
    backbone = load_backbone(spec.backbone, dtype=spec.dtype, device="cpu")
    checked = check_data(task, given.train, backbone.reader)
    if not force:
        stop_on_errors(checked, given.train.name)
    return checked


def space_for(spec: StudySpec, task: Task | None = None) -> tuple[Space, list[str]]:
    """What is searched on the backbone, for a task if it is known, and what is to be said of it:

    which methods are left out, and why.

    Raises:
        RequestError: if a method is unknown, none is left, or the narrowing is not possible.
    """
    sites = outline(spec.backbone, spec.dtype).sites
    try:
        space, reasons = searched_space(spec.methods, spec.narrowing, sites, task)
    except ValueError as error:
        raise RequestError(str(error)) from None
    if not space.methods:
        raise RequestError(f"no method can run on backbone {spec.backbone!r}: {'; '.join(reasons)}")
    held = fewer_than(spec.trials, space)
    if held is not None:
        reasons.append(f"the space holds {held} configurations; the search ends with those")
    return space, reasons


class Service:
    """The studies of one database, with the files beside it."""

    def __init__(self, url: str) -> None:
        """Open or create the store.

        Raises:
            StorageError: if the database cannot be opened.
        """
        self.database = open_database(url)
        self.files = Files(files_folder(url))

    # ------------------------------------------------------------------------------- asking

    def submit(
        self,
        given: DataFiles,
        spec: StudySpec,
        checked: Checked,
        *,
        name: str | None = None,
        worker: str | None = None,
    ) -> Study:
        """Store a checked request: in the queue, or as the study that `worker` is about to run.

        Raises:
            RequestError: if the name is taken or is no name.
        """
        chosen = self._free_name(given.train.stem) if name is None else self._checked_name(name)
        spec = keep(self.files, given, spec)
        sketch = outline(spec.backbone, spec.dtype)
        task = {
            **checked.summary(),
            "meta_features": of_task(checked.task, checked.lengths.tokens),
            "backbone": {"model_type": sketch.model_type, "hidden_size": sketch.hidden_size},
        }
        return self.database.create_study(chosen, spec.to_json(), task, worker)

    def _checked_name(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise RequestError(
                f"{name!r} cannot name a study; a name has 1 to 64 letters, digits, dots, dashes or "
                f"underscores and starts with a letter or digit"
            )
        if name in {study.name for study in self.database.studies()}:
            raise RequestError(
                f"there is a study {name!r} already; choose another --name, such as {self._free_name(name)}"
            )
        return name

    def _free_name(self, stem: str) -> str:
        taken = {study.name for study in self.database.studies()}
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:48] or "study"
        return next(f"{base}-{i}" for i in count(1) if f"{base}-{i}" not in taken)

    # ------------------------------------------------------------------------------ running

    def run(self, study_id: int, task: Task | None = None, *, worker: str | None = None) -> Study:
        """Search, recommend and export; a study that was begun earlier is taken up again.

        What was recorded stays whatever happens. A study that breaks off is marked as
        failed, unless another process than `worker` has taken it over.

        Raises:
            SearchError: if nothing could be trained.
            KeyboardInterrupt: on Ctrl-C.
        """
        with study_log(self.log_file(self.database.study(study_id).name)) as path:
            try:
                return self._run(study_id, task)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, Exception) and not isinstance(error, ClusterError):
                    # No error here: whoever called shows it, with the note.
                    LOG.warning("the study broke off", exc_info=True)
                    error.add_note(f"in full in {path}")
                if worker is None or self.database.heartbeat(study_id, worker):
                    self._fail(study_id, _why(error))
                raise

    def log_file(self, name: str) -> Path:
        """Where the log of a study is written, on the machine that runs it."""
        return self.files.folder / "logs" / f"{name}.log"

    def _run(self, study_id: int, task: Task | None) -> Study:
        study = self.database.study(study_id)
        spec = StudySpec.from_json(study.spec)
        task = read_kept(self.files, spec) if task is None else task
        clock = Clock(spec.budget_seconds, started=time.time() - study.seconds)
        note = ""
        if study.recommendation is None:
            note = self._search(study_id, spec, task, clock)
        # Else the test split was seen: nothing more is trained, and the choice stands.
        self._tell(study_id, "exporting the recommended module", clock)
        self._export_recommended(study_id, task)
        self.database.set_study_state(study_id, State.COMPLETE, message=note, seconds=clock.seconds)
        return self.database.study(study_id)

    def _search(self, study_id: int, spec: StudySpec, task: Task, clock: Clock) -> str:
        """Train what is still to be trained, choose, and only then open the test split; returns a note."""
        fitted = fitting_of(spec, space_for(spec, task)[0], task.outputs)
        self._tell(study_id, "starting the workers", clock)
        search = Search(
            self.database,
            self.files,
            study_id,
            task,
            fitted.space,
            fitted.cost,
            clock,
            fitted.limits,
            fitted.fit,
            fitted.no_full,
        )
        runner_of(spec).run(search, _bench(study_id, task, spec))
        self._tell(study_id, "comparing the finalists", clock)
        study = self.database.study(study_id)
        choice = decide(study, self.files, task, fitted.space, search.left_out, fitted.limits).to_json()
        if len(spec.objectives) > 1:
            searched = tuple(trial for trial in study.trials if proposed(trial, spec.methods))
            choice["front"] = front_of(replace(study, trials=searched), spec.objectives).to_json()
        self.database.open_test(study_id, choice, *test_scores(study, self.files, task))
        return search.note

    def _tell(self, study_id: int, message: str, clock: Clock) -> None:
        self.database.set_study_state(study_id, State.RUNNING, message=message, seconds=clock.seconds)

    def _export_recommended(self, study_id: int, task: Task) -> None:
        study = self.database.study(study_id)
        if not left_module(study) or _is_exported(study):
            return
        # Databases may share a folder of files, so the number alone would not do.
        name = f"study-{study_id}-{study.created:%Y%m%d-%H%M%S}"
        self._export(study, task, self.files.folder / "exports" / name, trial=None)

    def _fail(self, study_id: int, message: str) -> None:
        self.database.fail_running_trials(study_id, message)
        self.database.set_study_state(study_id, State.FAIL, message=message)

    # --------------------------------------------------------------------------- looking up

    def studies(self) -> list[Study]:
        """All studies, the newest first, without their trials."""
        return self.database.studies()

    def study(self, name_or_id: str) -> Study:
        """A study with everything in it.

        Raises:
            StorageError: if there is none, naming some that there are.
        """
        return self.database.find_study(name_or_id)

    def result(self, study: Study) -> dict[str, Any]:
        """The study as the JSON object that `--json` prints."""
        return result(study)

    # ---------------------------------------------------------------------------- exporting

    def export(
        self,
        name_or_id: str,
        folder: Path,
        *,
        trial: int | None = None,
        format: str = "native",
        prune_gates: float | None = None,
    ) -> tuple[Export, Pruned | None]:
        """Write a module as a folder, after checking that it reloads to the trained logits.

        Without `trial` the recommended module is written. With `prune_gates` it goes out without the
        modules whose gates stay below that on the validation split.

        Raises:
            RequestError: if there is nothing to export, saying what there is.
            ExportError: if the check fails or the folder is taken.
        """
        if format not in FORMATS:
            raise RequestError(f"format {format!r} is unknown; formats: {', '.join(FORMATS)}")
        study = self.study(name_or_id)
        task = read_kept(self.files, StudySpec.from_json(study.spec))
        return self._export(study, task, folder, trial=trial, prune_gates=prune_gates)

    def _export(
        self,
        study: Study,
        task: Task,
        folder: Path,
        *,
        trial: int | None,
        prune_gates: float | None = None,
    ) -> tuple[Export, Pruned | None]:
        chosen = module_to_export(study, self.files, trial)
        spec = StudySpec.from_json(study.spec)
        backbone = load_backbone(spec.backbone, dtype=_exported(spec.dtype))
        module = module_from_bytes(chosen.module)
        # The names that the user's files had; the kept copies are read under other ones.
        task = replace(task, name=study.task["name"], origin=study.task["origin"])
        max_length = prepare(task, backbone, spec.truncation).max_length
        facts = {
            "study": study.name,
            **chosen.facts,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        logits, pruned = chosen.logits, None
        if prune_gates is not None:
            pruned = prune(module, backbone, task, max_length, prune_gates, spec.truncation)
            module, logits = pruned.module, pruned.logits
            # The test split is not opened again for a module that was changed afterwards.
            scores = {"validation": None, "test": None, pruned.split: dict(pruned.after)}
            facts = {**facts, "scores": scores, "pruned_gates": pruned.facts(prune_gates)}
        difference = write_export(
            folder, module, backbone, task, max_length, logits, facts, truncation=spec.truncation
        )
        export = Export(
            trial=chosen.trial,
            baseline=chosen.baseline,
            format="native",
            folder=str(folder.resolve()),
            difference=difference,
            created=datetime.now(UTC),
        )
        self.database.add_export(study.id, export)
        return export, pruned


def _bench(study: int, task: Task, spec: StudySpec) -> Bench:
    return Bench(study=study, task=task, backbone=spec.backbone, dtype=spec.dtype, truncation=spec.truncation)


def _is_exported(study: Study) -> bool:
    """Whether the recommended module went out before the run was taken up again."""
    assert study.recommendation is not None
    chosen = (study.recommendation["trial"], study.recommendation["method"])
    return any(chosen == (one.trial, one.baseline or chosen[1]) for one in study.exports)


def _exported(dtype: str) -> str:
    """How the backbone is held under an export: quantised as it was trained on, else in fp32."""
    return dtype if dtype in BITS else "fp32"


def _why(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what had finished is kept"
    shown = (
        str(error) if isinstance(error, (SearchError, ClusterError)) else f"{type(error).__name__}: {error}"
    )
    return shown.splitlines()[0]


def runner_of(spec: StudySpec) -> Runner:
    """What runs a study; Ray is imported only when it is used."""
    if spec.runner == "local":
        return LocalRunner()
    if spec.address is not None:
        leave_loopback()
    from selector.runners.ray import RayRunner  # importing Ray takes over a second

    return RayRunner(spec.wanted, spec.address)
