"""Durations as users write them."""

from __future__ import annotations

import re

from selector.study import RequestError


def seconds_of(text: str) -> float:
    """Seconds of a duration such as 20m, 90s or 1h30m.

    Raises:
        RequestError: if it is none.
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip().lower())
    if match is None or not any(match.groups()):
        raise RequestError(f"budget {text!r} is no duration; write for example 90s, 20m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def duration_of(seconds: float) -> str:
    """The shortest text of which `seconds_of` makes these seconds, without their fraction."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (left, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
