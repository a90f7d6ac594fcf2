"""The shipped portfolio: configurations that together did well on several datasets, in the order to try them.

`benchmarks/portfolio.py` makes the file `portfolio.json` beside this one, which says from what.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from selector.likeness import config_inside
from selector.space import Space
from trainers.kinds import single
from trainers.method import MethodConfig


def portfolio(kind: str, space: Space) -> list[MethodConfig]:
    """The portfolio's configurations that lie in a space; none for a kind of task it was not made on."""
    kept = shipped()
    if single(kind) not in kept["kinds"]:
        return []
    found = (config_inside(one["method"], one["values"], space) for one in kept["configurations"])
    return [config for config in found if config is not None]


@cache
def shipped() -> Mapping[str, Any]:
    """The file as it is: `kinds`, `configurations`, `provenance`."""
    text = files("selector").joinpath("portfolio.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found
