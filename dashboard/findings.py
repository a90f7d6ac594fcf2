"""What the checks found in a study's data, as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.words import plain
from selector.checking import tally

Findings = Sequence[Mapping[str, Any]]
"""As a study keeps them, the worst first."""
BOXES = {"error": st.error, "warning": st.warning, "advice": st.info}


def show_findings(findings: Findings) -> None:
    """Errors and warnings in boxes, advice behind a click."""
    if not findings:
        st.caption("The data checks found nothing to mend.")
    for finding in findings:
        if finding["severity"] != "advice":
            BOXES[finding["severity"]](words(finding))
    advice = [finding for finding in findings if finding["severity"] == "advice"]
    if advice:
        with st.expander(f"Advice on the data ({len(advice)})", key="advice"):
            for finding in advice:
                st.markdown(words(finding))


def show_tally(findings: Findings) -> None:
    """One line that opens; it is open from the start where there is an error."""
    if not findings:
        st.caption("The data checks found nothing to mend.")
        return
    severities = [finding["severity"] for finding in findings]
    with st.expander(f"Data checks: {tally(severities)}", expanded="error" in severities, key="findings"):
        for finding in findings:
            BOXES[finding["severity"]](words(finding))


def has_error(findings: Findings) -> bool:
    """Whether a study of this data is started only when that is insisted on."""
    return any(finding["severity"] == "error" for finding in findings)


def words(finding: Mapping[str, Any]) -> str:
    """A finding in markdown: what, examples, what to do."""
    examples = "".join(f"\n- {plain(example)}" for example in finding["examples"])
    return (
        f"**{plain(finding['check'].capitalize())}**: {plain(finding['what'])}.\n{examples}\n\n"
        f"To do: {plain(finding['advice'])}."
    )
