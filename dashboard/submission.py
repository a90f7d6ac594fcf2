"""What the submit page asks of the selector: read uploads, check a request, queue it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from selector.checking import Checked, check_data
from selector.choices import method_names
from selector.durations import seconds_of
from selector.fitting import fitting_of
from selector.narrowing import read_options
from selector.service import Service, check_request, space_for
from selector.study import DataFile, StudySpec
from selector.uploads import Upload, first_rows, written

Uploads = Mapping[str, Upload]
"""Split -> file; `train` is always there."""
DATA_FIELDS = ("text", "text_pair", "label", "task", "metric", "train_rows", "folds", "seed")
"""What of a request says how its data are read; with all else changed the checks find the same."""


@dataclass(frozen=True)
class Understood:
    """What a checked request means."""

    task: dict[str, Any]
    """The task's summary: kind, metric, columns, labels, rows, origin."""
    counts: dict[str, dict[str, int]]
    """Split -> label -> rows, or words, that have it; empty where numbers are predicted."""
    findings: list[dict[str, Any]]
    """What the checks found, the worst first."""
    left_out: list[str]
    """What the options leave out of the search, and why."""


@st.cache_data(ttl=60, max_entries=16, show_spinner=False)
def methods_on(backbone: str) -> tuple[list[str], list[str]]:
    """The methods that run on a backbone, and why others do not; raises BackboneError."""
    return method_names(backbone)


@st.cache_data(ttl=600, max_entries=8, show_spinner="Reading the file")
def preview(file_id: str, _upload: Upload) -> dict[str, list[str]]:
    """Column -> first values of an upload, for which `file_id` stands; raises TaskError, RequestError."""
    with written(_upload) as files:
        return first_rows(files.train)


@st.cache_data(ttl=600, max_entries=8, show_spinner="Checking the data")
def understand(file_ids: tuple[str, ...], _uploads: Uploads, spec: StudySpec) -> Understood:
    """Read and check a request, whatever the checks find; raises one of USER_ERRORS."""
    data = (*file_ids, spec.backbone, *(getattr(spec, name) for name in DATA_FIELDS))

    def check(*given: Any) -> Checked:
        return _examined(data, given)

    with written(**_uploads) as files:
        checked = check_request(files, spec, force=True, check=check)
    findings = [finding.to_json() for finding in checked.findings]
    space, reasons = space_for(spec)
    told = [*reasons, *fitting_of(spec, space, checked.task.outputs).reasons]
    left_out = [reason for reason in told if reason not in methods_on(spec.backbone)[1]]
    return Understood(checked.task.summary(), checked.label_counts(), findings, left_out)


@st.cache_resource(ttl=600, max_entries=2, show_spinner="Checking the data")
def _examined(data: tuple[object, ...], _given: tuple[Any, ...]) -> Checked:
    """What the checks find in data, for which `data` stands."""
    return check_data(*_given)


def queue(service: Service, uploads: Uploads, spec: StudySpec, name: str | None) -> str:
    """Check once more, store and queue; returns the study's name. Raises one of USER_ERRORS.

    An error that the checks find does not stop it: the page has shown it, and asked.
    """
    with written(**uploads) as files:
        checked = check_request(files, spec, force=True)
        return service.submit(files, spec, checked, name=name).name


def request_of(asked: Mapping[str, Any], uploads: Uploads) -> StudySpec:
    """What the form's fields ask for; what the files hold is kept when it is queued. Raises RequestError."""
    known = dict(asked)
    narrowing = read_options(known.pop("fix"), known.pop("range"))
    budgets = [known.pop(name) for name in ("budget", "device_budget")]
    seconds = [None if text is None else seconds_of(text) for text in budgets]
    files = {split: DataFile(name=upload.name) for split, upload in uploads.items()}
    return StudySpec(
        **{"train": DataFile(name=""), **files, **known},
        narrowing=narrowing,
        budget_seconds=seconds[0],
        device_seconds=seconds[1],
    )
