"""The buttons of a study: pause it, let it go on, end it; what each does is said before it is pressed."""

from __future__ import annotations

from typing import Any

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
            if "pause" in wishes:
                _button("Pause", "pause", study, icon=":material/pause:", help=PAUSE)
            if "resume" in wishes:
                _button("Resume", "resume", study, icon=":material/play_arrow:", help=RESUME)
            if "cancel" in wishes:
                with st.popover("Cancel", icon=":material/stop:", key="cancelling"):
                    st.markdown(CANCEL)
                    _button("Cancel this study for good", "cancel", study, type="primary")
    name, reason = st.session_state.get(REFUSED, ("", ""))
    if name == study.name:
        st.error(plain(reason))


def _button(label: str, wish: str, study: Study, **looks: Any) -> None:
    st.button(label, key=wish, on_click=_ask, args=(wish, study.name), **looks)


def _ask(wish: str, name: str) -> None:
    """Do it, before the page is drawn as the study then stands."""
    st.session_state.pop(REFUSED, None)
    try:
        {"pause": service().pause, "resume": service().queue, "cancel": service().cancel}[wish](name)
    except USER_ERRORS as error:
        st.session_state[REFUSED] = (name, str(error))
    forget_loaded()
