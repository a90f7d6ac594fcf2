"""The recommendation's reason: short sentences, each of which can be checked against the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selector.contenders import Contender
from selector.statistics import Difference, Interval, Predictions, Tied, paired_difference

BASELINE_NAMES = {
    "majority": "the majority class",
    "tfidf_logistic_regression": "TF-IDF with logistic regression",
    "linear_probe": "the linear probe",
}


@dataclass(frozen=True)
class Compared:
    """What the choice was made from."""

    contenders: Sequence[Contender]
    """The cheapest first."""
    tied: Tied
    chosen: int
    """Position among the contenders."""
    metric: str
    labels: Predictions
    classes: int
    tried: int
    """Configurations that were searched."""
    seed: int

    @property
    def choice(self) -> Contender:
        return self.contenders[self.chosen]

    def finalists(self) -> list[int]:
        """Positions of the trained modules, the highest mean first."""
        found = [position for position, one in enumerate(self.contenders) if one.trial is not None]
        return sorted(found, key=lambda one: self.tied.differences[one].mean)

    def less_choice(self, position: int) -> Difference:
        """A contender's score less that of the choice."""
        a, b = self.contenders[position].validation, self.choice.validation
        return paired_difference(self.metric, a, b, self.labels, self.classes, seed=self.seed)


def reason(compared: Compared, validation: Interval) -> str:
    """Three or four sentences: what was compared, the score, who was tied and what decided, what it costs.

    When a baseline is chosen, the first sentence says that it should be used.
    """
    if compared.choice.trial is None:
        sentences = [_use_the_baseline(compared), _what_was_compared(compared), _score(compared, validation)]
    else:
        sentences = [
            _what_was_compared(compared),
            _score(compared, validation),
            _what_decided(compared),
            f"It trains {compared.choice.trainable_parameters:,} parameters "
            f"and stores {_size(compared.choice.stored_bytes)}.",
        ]
    return " ".join(sentences)


def _use_the_baseline(compared: Compared) -> str:
    name = _name(compared.choice)
    finalists = compared.finalists()
    if not finalists:
        return f"Use {name}: no module was trained to the end."
    best = finalists[0]
    module = compared.contenders[best]
    return (
        f"Use {name}: no trained module is significantly better (best: {module.method}, trial {module.trial}, "
        f"{_points(compared.less_choice(best))}{_correction(compared, best)})."
    )


def _what_was_compared(compared: Compared) -> str:
    finalists, rows = compared.finalists(), f"{len(compared.labels):,} validation examples"
    baselines = _count(len(compared.contenders) - len(finalists), "baseline")
    tried = f"{_count(compared.tried, 'configuration')} {'was' if compared.tried == 1 else 'were'} searched"
    if not finalists:
        return f"{tried}, and {baselines} compared on {rows}."
    seeds = sorted({len(compared.contenders[one].validation) for one in finalists})
    each = _count(seeds[-1], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return (
        f"{tried}; {_count(len(finalists), 'finalist')} with {each} each and {baselines} "
        f"were compared on {rows}."
    )


def _score(compared: Compared, validation: Interval) -> str:
    over = f"over {_count(validation.seeds, 'seed')}" if compared.choice.trial is not None else "as measured"
    return (
        f"{_capital(_label(compared.choice))} reaches {compared.metric} {validation.mean:.3f} on validation "
        f"({over}, 95 % interval {validation.low:.3f} to {validation.high:.3f})."
    )


def _what_decided(compared: Compared) -> str:
    tied, contenders = compared.tied, compared.contenders
    others = [one for one in sorted(tied.members) if one != compared.chosen]
    if not others:
        return _clear_lead(compared)
    if compared.chosen != tied.best:
        lead = compared.less_choice(tied.best)
        return (
            f"The highest score is {_label(contenders[tied.best])}, {_points(lead)}"
            f"{_correction(compared, compared.chosen)}: of the {len(tied.members)} that cannot be told apart, "
            f"this is the cheapest ({_size(compared.choice.stored_bytes)} "
            f"against {_size(contenders[tied.best].stored_bytes)})."
        )
    names = ", ".join(_label(contenders[one]) for one in others)
    verb = "is" if len(others) == 1 else "are"
    return f"It has the highest score and costs least; {names} {verb} not significantly worse."


def _clear_lead(compared: Compared) -> str:
    differences = compared.tied.differences
    others = [one for one in range(len(differences)) if one != compared.chosen]
    if not others:
        return "Nothing else was there to compare it with."
    second = min(others, key=lambda one: differences[one].mean)
    return (
        f"It is significantly better than all others; next is {_label(compared.contenders[second])}, "
        f"{_points(_turned(differences[second]))}."
    )


# --------------------------------------------------------------------------------------- words


def _correction(compared: Compared, other: int) -> str:
    """Says why a difference is no difference although its own interval leaves out zero."""
    position = other if compared.chosen == compared.tied.best else compared.chosen
    one = compared.tied.differences[position]
    if one.low <= 0 <= one.high:
        return ""
    return f", not significant after correcting for {len(compared.contenders) - 1} comparisons"


def _turned(one: Difference) -> Difference:
    return Difference(-one.mean, -one.high, -one.low, one.p_value)


def _points(one: Difference) -> str:
    """A difference in points, that is, hundredths of the metric."""
    return f"{100 * one.mean:+.1f} points, 95 % interval {100 * one.low:.1f} to {100 * one.high:.1f}"


def _name(contender: Contender) -> str:
    return BASELINE_NAMES.get(contender.method, contender.method)


def _label(contender: Contender) -> str:
    if contender.trial is None:
        return _name(contender)
    return f"{contender.method} (trial {contender.trial})"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:] if text.startswith("the ") else text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(stored_bytes: int) -> str:
    if stored_bytes < 1000:
        return _count(stored_bytes, "byte")
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if stored_bytes < 1000 * size:
            break
    return f"{stored_bytes / size:.1f} {unit}"
