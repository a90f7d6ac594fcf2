"""Full fine-tuning as a baseline: all weights trained at three learning rates, the best of them repeated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selector.study import INTERRUPTED
from storage.records import State, Trial

METHOD = "full"
LEARNING_RATES = (1e-5, 3e-5, 1e-4)
"""The lowest that RoBERTa was fine-tuned with (arXiv 1907.11692), the middle one of BERT's three (arXiv
1810.04805, appendix A.3), and one of those of BERTs as small as MiniLM (google-research/bert, README)."""
COST = 3.0
"""A step costs about so many of LoRA's (2.8 measured, docs/search.md). Only a guess for estimates and for
whether to begin at all under a budget; from then on its own time is known."""


def is_baseline(trial: Trial, methods: Sequence[str] | None) -> bool:
    """Whether the trial belongs to the baseline.

    `methods` are those that the user named; full fine-tuning is searched when it is among them.
    """
    return trial.method == METHOD and METHOD not in (methods or ())


def proposed(trial: Trial, methods: Sequence[str] | None) -> bool:
    """Whether the trial is one of the configurations that the search proposed: no repeat and no baseline."""
    return trial.repeat_of is None and not is_baseline(trial, methods)


def attempts(trials: Iterable[Trial]) -> list[Trial]:
    """The trials of full fine-tuning that are no repeats; what a dead run left unfinished does not count."""
    return [t for t in trials if t.method == METHOD and t.repeat_of is None and t.message != INTERRUPTED]


def untried(trials: Iterable[Trial]) -> list[float]:
    """The learning rates that are still to be trained."""
    tried = {trial.config["learning_rate"] for trial in attempts(trials)}
    return [rate for rate in LEARNING_RATES if rate not in tried]


def too_long(epochs: float, pace: float, seconds: float) -> str:
    """Why its rates cannot be compared in the `seconds` that the search has left; empty if they may be.

    Each is trained for so many `epochs` first, at a `pace` in seconds.
    """
    needed = epochs * pace * len(LEARNING_RATES)
    if needed <= seconds:
        return ""
    return f"comparing its rates takes about {needed:.0f} s, and the search had {seconds:.0f} s left"


def failure(trials: Iterable[Trial]) -> str:
    """Why no learning rate came to a score."""
    messages = [trial.message for trial in attempts(trials) if trial.message]
    return messages[0] if messages else "the search had no time for it"


def keeps_module(trial: Trial, trials: Iterable[Trial]) -> bool:
    """Whether the trained module is kept: of full fine-tuning, as large as a backbone, the first repeat's."""
    if trial.method != METHOD:
        return True
    without = (State.FAIL, State.PRUNED)
    beside = [t.number for t in trials if t.repeat_of == trial.repeat_of and t.state not in without]
    return trial.repeat_of is not None and trial.number == min(beside)
