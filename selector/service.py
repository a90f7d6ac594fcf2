"""What the command line and the dashboard call: submit, run, look up, export."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from selector.checking import Checked, check_data, stop_on_errors
from selector.control import ask, queue, take_up, unfinished
from selector.data import DataFiles, hub_name, keep, read, read_kept
from selector.decision import left_module, module_to_export
from selector.fitting import fitting_of
from selector.meta_features import of_task
from selector.placement import ClusterError
from selector.provenance import of_module, provenance
from selector.report import result
from selector.reproduction import Reproduction, reproduce
from selector.running import Run
from selector.searched_space import space_for as space_for
from selector.stopping import Stop
from selector.study import RequestError, StudySpec
from selector.study_log import LOG, study_log
from storage.database import open_database
from storage.files import Files, files_folder
from storage.records import Export, Request, Study
from trainers.backbone import Reader, outline
from trainers.backbone import load as load_backbone
from trainers.checkpoint import BITS
from trainers.data import prepare
from trainers.export import exported, module_from_bytes, write_export
from trainers.formats import ELSEWHERE, FORMATS
from trainers.formats.release import release
from trainers.pruning import Pruned, prune
from trainers.simplify import Simplified, simplify
from trainers.task import Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


Check = Callable[[Task, Path, Reader], Checked]
"""Examines a task that was read from a training file."""


def check_request(
    given: DataFiles, spec: StudySpec, *, force: bool = False, check: Check = check_data
) -> Checked:
    """Everything that can be wrong with a request, found before anything is stored.

    With `force` an error that the checks find in the data does not stop it. `check` may remember what it
    found in the same data.

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
    backbone = load_backbone(spec.backbone, dtype=spec.dtype, device="cpu", head=spec.head)
    checked = check(task, given.train, backbone.reader)
    if not force:
        stop_on_errors(checked, given.train.name)
    return checked


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
            "hub": hub_name(given.train),
        }
        study = self.database.create_study(chosen, spec.to_json(), task, worker)
        if worker is None:
            self.database.add_run(study.id, provenance())
        return study

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

    def run(
        self,
        study_id: int,
        task: Task | None = None,
        *,
        worker: str | None = None,
        stop: Stop | None = None,
    ) -> Study:
        """Search, recommend and export; a study that was begun earlier goes on where it was.

        Returns the study complete, or as it was left because `stop` said so: cancelled, paused, or, after a
        signal to a process that is not `worker` itself, back in the queue. Nothing that was recorded is ever
        lost, and nothing is written of a study that another worker has taken over.

        Raises:
            SearchError: if nothing could be trained.
            KeyboardInterrupt: when it is to be left without waiting for the rung in flight.
        """
        stop = Stop(self.database, study_id) if stop is None else stop
        run = Run(self.database, self.files, study_id, worker, stop, self._export_recommended)
        with study_log(self.log_file(self.database.study(study_id).name)) as path:
            try:
                return run.to_the_end(task)
            except Exception as error:
                if not isinstance(error, ClusterError):
                    # No error here: whoever called shows it, with the note.
                    LOG.warning("the study broke off", exc_info=True)
                    error.add_note(f"in full in {path}")
                raise

    def log_file(self, name: str) -> Path:
        """Where the log of a study is written, on the machine that runs it."""
        return self.files.folder / "logs" / f"{name}.log"

    def _export_recommended(self, study: Study, task: Task) -> None:
        if not left_module(study) or _is_exported(study):
            return
        # Databases may share a folder of files, so the number alone would not do.
        name = f"study-{study.id}-{study.created:%Y%m%d-%H%M%S}"
        self._export(study, task, self.files.folder / "exports" / name, trial=None, fresh=False)

    # ---------------------------------------------------------------------- going on, or not

    def unfinished(
        self, given: DataFiles, spec: StudySpec, worker: str, name: str | None = None
    ) -> tuple[Study | None, Study | None]:
        """An unfinished study of the same request and data, now this worker's; and one that another runs."""
        taken = None
        for study in unfinished(self.database, keep(self.files, given, spec), name):
            try:
                return take_up(self.database, study, worker), None
            except RequestError:
                taken = study
        return None, taken

    def pause(self, name_or_id: str) -> str:
        """Let a study be left after the rung in flight, to go on later; returns what happens, for the user.

        Raises:
            RequestError: if it is finished.
        """
        return ask(self.database, self.files, self.study(name_or_id), Request.PAUSE)

    def cancel(self, name_or_id: str) -> str:
        """End a study after the rung in flight, for good; returns what happens, for the user.

        Raises:
            RequestError: if it is finished.
        """
        return ask(self.database, self.files, self.study(name_or_id), Request.CANCEL)

    def take_up(self, name_or_id: str, worker: str) -> Study:
        """An unfinished study, now this worker's; it goes on with `run`.

        Raises:
            RequestError: if it is finished, or another worker has it.
        """
        return take_up(self.database, self.study(name_or_id), worker)

    def queue(self, name_or_id: str) -> str:
        """Put a paused study back into the queue, for any worker; returns what happens, for the user.

        Raises:
            RequestError: if it is finished, or a worker has it.
        """
        study = self.study(name_or_id)
        queue(self.database, study)
        return f"study {study.name} waits in the queue; run it with: peltier work"

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

    def reproduce(self, name_or_id: str, trial: int, *, stack: bool = False) -> Reproduction:
        """Train a trial again, alone or beside those that stood beside it, and compare.

        Raises:
            RequestError: if there is no such trial, or it was never scored.
        """
        return reproduce(self.files, self.study(name_or_id), trial, stack=stack)

    # ---------------------------------------------------------------------------- exporting

    def export(
        self,
        name_or_id: str,
        folder: Path,
        *,
        trial: int | None = None,
        format: str = "native",
        prune_gates: float | None = None,
        simplify_gates: bool = False,
        elsewhere: Path | None = None,
    ) -> tuple[Export, Pruned | None, Simplified | None]:
        """Write a module as a folder, after checking that a fresh process gets the trained logits from it.

        Without `trial` the recommended module is written. With `prune_gates` it goes out without the
        modules whose gates stay below that on the validation split; with `simplify_gates` the gates (that
        are left) are replaced by their means over the training split. `elsewhere` is the Python that loads a
        format of `trainers.formats.ELSEWHERE`.

        Raises:
            RequestError: if there is nothing to export, saying what there is.
            ExportError: if the check fails or the folder is taken.
        """
        if format not in (*FORMATS, *ELSEWHERE):
            known = ", ".join((*FORMATS, *ELSEWHERE))
            raise RequestError(f"format {format!r} is unknown; formats: {known}")
        study = self.study(name_or_id)
        task = read_kept(self.files, StudySpec.from_json(study.spec))
        return self._export(
            study,
            task,
            folder,
            trial=trial,
            prune_gates=prune_gates,
            simplify_gates=simplify_gates,
            format=format,
            elsewhere=elsewhere,
        )

    def _export(
        self,
        study: Study,
        task: Task,
        folder: Path,
        *,
        trial: int | None,
        prune_gates: float | None = None,
        simplify_gates: bool = False,
        format: str = "native",
        fresh: bool = True,
        elsewhere: Path | None = None,
    ) -> tuple[Export, Pruned | None, Simplified | None]:
        chosen = module_to_export(study, self.files, trial)
        spec = StudySpec.from_json(study.spec)
        backbone = load_backbone(spec.backbone, dtype=_exported(spec.dtype), head=spec.head)
        module = module_from_bytes(chosen.module)
        # The names that the user's files had; the kept copies are read under other ones.
        task = replace(task, name=study.task["name"], origin=study.task["origin"])
        max_length = prepare(task, backbone, spec.truncation).max_length
        facts = {
            "study": study.name,
            **chosen.facts,
            "dataset": study.task.get("hub"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "provenance": of_module(study.runs),
        }
        logits, pruned, simplified = chosen.logits, None, None
        if prune_gates is not None:
            pruned = prune(module, backbone, task, max_length, prune_gates, spec.truncation)
            module, logits = pruned.module, pruned.logits
            # The test split is not opened again for a module that was changed afterwards.
            scores = {"validation": None, "test": None, pruned.split: dict(pruned.after)}
            pruning = {"results": None, "pruned_gates": pruned.facts(prune_gates)}
            facts = {**facts, **pruning, "scores": scores}
        if simplify_gates:
            simplified = simplify(module, backbone, task, max_length, spec.truncation)
            module, logits = simplified.module, simplified.logits
            scores = {"validation": None, "test": None, simplified.split: dict(simplified.after)}
            facts = {**facts, "results": None, "scores": scores, "simplified_gates": simplified.facts()}
        if fresh:
            export_of = exported(module, backbone, task, max_length, spec.truncation)
            difference = release(folder, export_of, task, logits, facts, format=format, elsewhere=elsewhere)
        else:  # a process more for every study would take longer than it is worth
            difference = write_export(
                folder,
                module,
                backbone,
                task,
                max_length,
                logits,
                facts,
                truncation=spec.truncation,
                timed=True,
            )
        export = Export(
            trial=chosen.trial,
            baseline=chosen.baseline,
            format=format,
            folder=str(folder.resolve()),
            difference=difference,
            created=datetime.now(UTC),
        )
        self.database.add_export(study.id, export)
        return export, pruned, simplified


def _is_exported(study: Study) -> bool:
    """Whether the recommended module went out before the run was taken up again."""
    assert study.recommendation is not None
    chosen = (study.recommendation["trial"], study.recommendation["method"])
    native = [one for one in study.exports if one.format == "native"]
    return any(chosen == (one.trial, one.baseline or chosen[1]) for one in native)


def _exported(dtype: str) -> str:
    """How the backbone is held under an export: quantised as it was trained on, else in fp32."""
    return dtype if dtype in BITS else "fp32"
