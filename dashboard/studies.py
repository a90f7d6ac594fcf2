"""Which study a page shows, and how it is loaded: shared by the pages."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import streamlit as st

from dashboard.words import plain
from selector.control import is_paused
from selector.errors import USER_ERRORS
from selector.narrowing import searched_in_words
from selector.service import Service
from selector.study import DEFAULT_DATABASE, Study

ACTIVE = ("WAITING", "RUNNING")
PATIENCE_SECONDS = 5.0
"""A worker looks for studies each second; after this long there is none."""
FRESH_SECONDS = 0.5
"""Age at which a loaded study is read again: below the refresh of the progress page."""


def database_url() -> str:
    """The store that `peltier dashboard` was started with; it may hold a password."""
    return os.environ.get("PELTIER_DATABASE_URL", DEFAULT_DATABASE)


def service() -> Service:
    """What the store can be asked for; without one the page ends with the reason."""
    try:
        return _service(database_url())
    except USER_ERRORS as error:
        st.error(plain(error))
        st.stop()


@st.cache_resource(ttl=3600, max_entries=4, show_spinner="Opening the store")
def _service(url: str) -> Service:
    return Service(url)


def load(name: str) -> Study:
    """The study as it stands; without it the page ends with the reason."""
    try:
        return _load(database_url(), name)
    except USER_ERRORS as error:
        st.error(plain(error))
        st.stop()


@st.cache_data(ttl=FRESH_SECONDS, max_entries=64, show_spinner=False)
def _load(url: str, name: str) -> Study:
    return _service(url).study(name)


def forget_loaded() -> None:
    """Read every study anew: one of them was just changed here."""
    _load.clear()


def choose() -> str:
    """The study to show: that of the address (`?study=`), else the last one looked at, else the newest."""
    try:
        names = [study.name for study in service().studies()]
    except USER_ERRORS as error:
        st.error(plain(error))
        st.stop()
    if not names:
        st.info("There is no study yet.")
        st.page_link("views/submit.py", label="Submit the first search", icon=":material/upload_file:")
        st.stop()
    wanted = st.query_params.get("study") or st.session_state.get("last_study")
    if wanted is not None and wanted not in names:
        st.warning(f"There is no study {plain(wanted)}; here is the newest.")
    index = names.index(wanted) if wanted in names else 0
    name = st.selectbox("Study", names, index=index, key="study_choice", help="The newest stands first.")
    st.session_state["last_study"] = name
    st.query_params["study"] = name
    return name


def is_active(study: Study) -> bool:
    """Whether the study waits or runs, so that what is shown will change."""
    return study.state in ACTIVE


def waits_for_a_worker(study: Study) -> bool:
    """Whether the study has been in the queue for so long that no worker seems to run."""
    waited = (datetime.now(UTC) - study.created).total_seconds()
    return study.state == "WAITING" and not is_paused(study) and waited > PATIENCE_SECONDS


def elapsed(study: Study) -> float:
    """Seconds that the study was worked on; pauses do not count.

    The store knows them as of the last result; before the first one since the study was taken up they are
    those since then, if these are more.
    """
    used = float(study.seconds)
    if study.state != "RUNNING" or not study.runs:
        return used
    begun = datetime.fromisoformat(study.runs[-1]["at"])
    return max(used, (datetime.now(UTC) - begun).total_seconds())


def facts(study: Study) -> str:
    """One line on data and backbone, in markdown."""
    rows = study.task["rows"]
    counts = ", ".join(f"{rows[split]:,} {split}" for split in ("train", "validation", "test"))
    labels = f"{len(study.task['labels'])} labels, " if study.task["labels"] else ""
    searched = searched_in_words(study.spec)
    how = f", searched with {plain(searched)}" if searched else ""
    backbone = plain(study.spec["backbone"])
    return f"{plain(study.task['name'])}: {labels}{counts} rows, backbone {backbone}{how}"
