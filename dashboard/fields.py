"""Fields of a form: each has the default of a request and, as its help, the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from streamlit.delta_generator import DeltaGenerator

from selector.study import StudySpec


def help_of(option: Any) -> str:
    """What the command line says of an option of `selector.options`; words as they are."""
    return option if isinstance(option, str) else str(get_args(option)[1].help)


def whole(place: DeltaGenerator, label: str, key: str, option: Any) -> int:
    """A number of at least one."""
    default = getattr(StudySpec, key)
    return int(
        place.number_input(label, 1, None, default, key=key, help=help_of(option), persist_state="session")
    )


def count(place: DeltaGenerator, label: str, key: str, hint: str, option: Any) -> int | None:
    """A number of at least one, or none; the hint says what holds then."""
    return place.number_input(
        label, 1, None, None, key=key, placeholder=hint, help=help_of(option), persist_state="session"
    )


def line(place: DeltaGenerator, label: str, key: str, hint: str, option: Any) -> str | None:
    """A text, or none."""
    text = place.text_input(label, key=key, placeholder=hint, help=help_of(option), persist_state="session")
    return (text or "").strip() or None


def lines(place: DeltaGenerator, label: str, key: str, hint: str, option: Any) -> list[str]:
    """Texts, one a line; empty lines do not count."""
    text = place.text_area(
        label, key=key, height=100, placeholder=hint, help=help_of(option), persist_state="session"
    )
    return [part.strip() for part in (text or "").splitlines() if part.strip()]


def one_of(place: DeltaGenerator, label: str, key: str, choices: Sequence[str], option: Any) -> str:
    """One of several words."""
    index = choices.index(getattr(StudySpec, key))
    return str(place.selectbox(label, choices, index, key=key, help=help_of(option), persist_state="session"))


def ticked(place: DeltaGenerator, label: str, key: str, option: Any) -> bool:
    """Whether a box is ticked."""
    return bool(
        place.checkbox(label, getattr(StudySpec, key), key=key, help=help_of(option), persist_state="session")
    )
