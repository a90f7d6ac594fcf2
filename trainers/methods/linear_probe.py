"""Linear probe: only the head learns, on features that the frozen backbone gives once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainers.method import MethodConfig, register
from trainers.sites import Site
from trainers.trained import Trained


@register
@dataclass(frozen=True, kw_only=True)
class LinearProbeConfig(MethodConfig):
    """No module at all; `trainers.probe` solves for the head directly."""

    name = "linear_probe"
    searched = "never"
    formula = "the head alone, by L-BFGS on frozen features"
    reference = "-"
    mergeable = True

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        return ()
