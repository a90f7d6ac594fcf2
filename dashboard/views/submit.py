"""Submit: from a file to a queued search."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.findings import has_error, show_findings
from dashboard.form import ask_columns, ask_files, ask_search
from dashboard.studies import database_url, load, service, waits_for_a_worker
from dashboard.submission import Understood, preview, queue, request_of, understand
from dashboard.words import metric_name, plain
from selector.command import search_command
from selector.control import is_paused
from selector.errors import USER_ERRORS
from selector.study import RequestError, StudySpec
from selector.uploads import ENDINGS, Upload


def show_understood(found: Understood) -> None:
    """The task as it will be searched."""
    task = found.task
    columns = task["columns"]
    pair = "" if columns["text_pair"] is None else f" and {plain(columns['text_pair'])}"
    labels = f"{len(task['labels'])} labels of" if task["labels"] else "the numbers of"
    st.markdown(
        f"**{plain(task['kind'])}** of column **{plain(columns['text'])}{pair}** into "
        f"{labels} column **{plain(columns['label'])}**, "
        f"scored by **{metric_name(task['metric'])}**."
    )
    splits = ("train", "validation", "test")
    st.dataframe(
        pd.DataFrame(
            {
                "split": splits,
                "rows": [task["rows"][split] for split in splits],
                "where it comes from": [task["origin"][split] for split in splits],
            }
        ),
        hide_index=True,
        key="splits",
    )
    if not found.counts:
        return
    counts = pd.DataFrame(found.counts).rename_axis("label").reset_index()
    st.dataframe(
        counts, hide_index=True, key="labels", width="content", height=min(38 + 35 * len(counts), 260)
    )


def allowed(found: Understood, file_ids: tuple[str, ...]) -> bool:
    """What the checks found, and whether the search may start."""
    st.subheader("Data checks")
    show_findings(found.findings)
    return not has_error(found.findings) or st.checkbox(
        "Start although the checks found an error",
        key=f"force {' '.join(file_ids)}",  # other files are another question
        help="On the command line: --force",
    )


def start(uploads: dict[str, Upload], spec: StudySpec, name: str) -> None:
    try:
        st.session_state["submitted"] = queue(service(), uploads, spec, name.strip() or None)
    except USER_ERRORS as error:
        st.error(plain(error))


def show_command(spec: StudySpec, name: str, force: bool) -> None:
    """What to type for the same search."""
    st.caption(
        "The same in a terminal, in the folder of the file: it runs there at once; with `submit` in place of "
        "`search` it waits in the queue, as from here."
    )
    command = search_command(spec, name=name.strip() or None, force=force, database=database_url())
    st.code(command, language=None, wrap_lines=True)


@st.fragment(run_every=1.0)
def show_queued(name: str) -> None:
    """Where the search that was started last stands, until a worker has it."""
    study = load(name)
    st.session_state["last_study"] = name
    stands = "is paused" if is_paused(study) else "is queued" if study.state == "WAITING" else "has started"
    st.success(f"Study {plain(name)} {stands}.")
    st.page_link(
        "views/progress.py",
        label="Watch its progress",
        icon=":material/monitoring:",
        query_params={"study": name},
    )
    if waits_for_a_worker(study):
        st.warning("No worker has taken it yet; if none is running, start a worker with: `peltier work`")


st.title("Submit a search")
st.markdown(
    "Upload labelled text; Peltier finds the fine-tuning method that fits it, and says how sure that is."
)
uploads, file_ids = ask_files()
columns: list[str] = []
if "train" in uploads:
    try:
        rows = preview(file_ids[0], uploads["train"])
        columns = list(rows)
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="preview")
    except USER_ERRORS as error:
        st.error(plain(error))
else:
    st.caption(f"One example in each row, with a text and a label: {', '.join(ENDINGS)}.")

st.subheader("Task")
asked_columns = ask_columns(columns)
understanding = st.container()
st.subheader("Search")
asked_search = ask_search()
refusals = st.container()
study_name = st.text_input(
    "Name of the study", key="name", placeholder="after the training file", persist_state="session"
)

request, ready = None, False
try:
    request = request_of({**asked_columns, **asked_search}, uploads)
except RequestError as error:
    refusals.error(plain(error))
if columns and request is not None and request.backbone:
    try:
        understood = understand(file_ids, uploads, request)
        with understanding:
            show_understood(understood)
            ready = allowed(understood, file_ids)
        if understood.left_out:
            refusals.caption("\n".join(f"- {plain(reason)}" for reason in understood.left_out))
    except USER_ERRORS as error:
        # What the options ask for is mended here, what the files hold above.
        (refusals if isinstance(error, RequestError) else understanding).error(plain(error))
pressed = st.button("Start search", type="primary", key="start", disabled=not ready)
if request is not None and ready:
    if pressed:
        start(uploads, request, study_name)
    show_command(request, study_name, has_error(understood.findings))
if "submitted" in st.session_state:
    show_queued(st.session_state["submitted"])
