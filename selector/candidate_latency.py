"""What a worker does about latency: time modules before a bracket trains them, and leave out slow ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selector.allowance import Meter
from selector.jobs import Bracket, Entry, Outcome
from storage.records import State
from trainers.backbone import Backbone
from trainers.building import build_stack, method_named
from trainers.data import Data
from trainers.latency import measure_latency
from trainers.stack import Candidate

INFEASIBLE = "infeasible: "
"""How the message of a trial begins that a limit on latency ruled out."""
LATE = "stopped when the budget ended"


def time_entries(
    bracket: Bracket, backbone: Backbone, data: Data
) -> tuple[list[Entry], dict[int, Mapping[str, Any]], list[Outcome]]:
    """Which entries are to be trained, what latency each has, and the outcomes of those that are too slow.

    The latency of a module depends on its sizes, not on what it learns, so it is measured untrained. One that
    cannot even be built is left to the training, which will say why. When the bracket's time ends meanwhile,
    nobody is left to be trained.
    """
    if bracket.begun:  # they were measured before
        known = {entry.number: entry.latency for entry in bracket.entries if entry.latency is not None}
        return list(bracket.entries), known, []
    if not bracket.timed:
        return list(bracket.entries), {}, []
    meter = Meter(bracket.allowance)
    latencies: dict[int, Mapping[str, Any]] = {}
    slow: list[Outcome] = []
    for entry in bracket.entries:
        if not meter.pays_for(0):
            break
        try:
            latencies[entry.number] = _latency(entry, backbone, data)
        except Exception:
            continue
        reason = bracket.limits.too_slow(latencies[entry.number])
        if reason:
            # A trial that was cut without a score counts as worse than all others when the next are proposed.
            slow.append(Outcome(number=entry.number, state=State.PRUNED, message=INFEASIBLE + reason))
    out = {outcome.number for outcome in slow}
    left = [entry for entry in bracket.entries if entry.number not in out]
    if meter.pays_for(0):
        return left, latencies, slow
    return [], latencies, slow + [Outcome(number=e.number, state=State.PRUNED, message=LATE) for e in left]


def _latency(entry: Entry, backbone: Backbone, data: Data) -> Mapping[str, Any]:
    config = method_named(entry.method).from_values(entry.values)
    stack = build_stack(backbone.in_fp32, [Candidate(config, entry.seed)], data.task.outputs)
    (module,) = stack.deployed()
    return measure_latency(backbone, data, module).to_json()
