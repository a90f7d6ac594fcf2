"""The buttons of a study: pause it, let it go on, end it; what each does is said before it is pressed."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.studies import forget_loaded, service
from dashboard.words import plain
from selector.control import possible
from selector.errors import USER_ERRORS
from selector.study import Study

REFUSED = "control_refused"
PAUSE = (
    "Whoever runs it leaves it after the rung in flight; everything is kept, and it can go on later. "
    "On the command line: peltier pause"
)
RESUME = (
    "Puts it back into the queue: a worker (peltier work) goes on after the last finished rungs. "
    "On the command line: peltier resume --queue"
)
CANCEL = (
    "The study ends after the rung in flight, for good. Scores and modules that are there stay; what is "
    "still in training is given up."
)


def show_controls(study: Study) -> None:
    """The buttons that make sense in the study's state, and why the last one was refused, if it was."""
    wishes = possible(study)
    if wishes:
        with st.container(horizontal=True, key="controls"):
            if "pause" in wishes and st.button("Pause", key="pause", icon=":material/pause:", help=PAUSE):
                _do(service().pause, study.name)
            if "resume" in wishes and st.button(
                "Resume", key="resume", icon=":material/play_arrow:", help=RESUME
            ):
                _do(service().queue, study.name)
            if "cancel" in wishes:
                _show_cancel(study)
    name, reason = st.session_state.get(REFUSED, ("", ""))
    if name == study.name:
        st.error(plain(reason))


def _show_cancel(study: Study) -> None:
    with st.popover("Cancel", icon=":material/stop:", key="cancel"):
        st.markdown(CANCEL)
        if st.button("Cancel this study for good", key="cancel_confirmed", type="primary"):
            _do(service().cancel, study.name)


def _do(action: Callable[[str], str], name: str) -> None:
    """Act, and draw the page as the study then stands."""
    st.session_state.pop(REFUSED, None)
    try:
        action(name)
    except USER_ERRORS as error:
        st.session_state[REFUSED] = (name, str(error))
    forget_loaded()
    st.rerun()
