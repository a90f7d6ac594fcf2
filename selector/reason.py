"""The recommendation's reason: short sentences, each of which can be checked against the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selector.bootstrap import Classes, Predictions
from selector.contenders import Compared, Finalist
from selector.statistics import Difference, Interval, Tied, paired_difference

BASELINE_NAMES = {
    "majority": "the majority class",
    "mean": "the mean of the training rows",
    "tfidf_logistic_regression": "TF-IDF with logistic regression",
    "tfidf_ridge": "TF-IDF with ridge regression",
    "word_tags": "the most frequent tag of each word",
    "linear_probe": "the linear probe",
    "frequent_labels": "the labels that most rows have",
    "frequent_tag": "the most frequent tag",
}


@dataclass(frozen=True)
class Comparison:
    """What the choice was made from."""

    contenders: Sequence[Compared]
    """The cheapest first."""
    tied: Tied
    chosen: int
    """Position among the contenders."""
    metric: str
    labels: Predictions
    classes: Classes
    searched: int | None
    """Configurations that led to the finalists."""
    seed: int

    @property
    def choice(self) -> Compared:
        return self.contenders[self.chosen]

    def finalists(self) -> list[int]:
        """Positions of the trained modules, the highest mean first."""
        found = [i for i, one in enumerate(self.contenders) if isinstance(one, Finalist)]
        return sorted(found, key=lambda one: self.tied.differences[one].mean)

    def less_choice(self, position: int) -> Difference:
        """A contender's score less that of the choice."""
        a, b = self.contenders[position].validation, self.choice.validation
        return paired_difference(self.metric, a, b, self.labels, self.classes, seed=self.seed)


def reason(comparison: Comparison, validation: Interval) -> str:
    """Three or four sentences: what was compared, the score, who was tied and what decided, what it costs.

    When a baseline is chosen, the first sentence says that it should be used.
    """
    if not isinstance(comparison.choice, Finalist):
        sentences = [
            _use_the_baseline(comparison),
            _what_was_compared(comparison),
            _score(comparison, validation),
        ]
    else:
        sentences = [
            _what_was_compared(comparison),
            _score(comparison, validation),
            _what_decided(comparison),
            f"It trains {comparison.choice.trainable_parameters:,} parameters "
            f"and stores {_size(comparison.choice.stored_bytes)}.",
        ]
    return " ".join(sentences)


def _use_the_baseline(comparison: Comparison) -> str:
    name = _name(comparison.choice)
    finalists = comparison.finalists()
    if not finalists:
        return f"Use {name}: no module was trained to the end."
    best = finalists[0]
    lead = comparison.less_choice(best)
    shown = f"{_points(lead)}{_correction(comparison, best)}"
    label = _label(comparison.contenders[best]).replace(" (", ", ").replace(")", "")
    verdict = (
        "every trained module is worse" if lead.high < 0 else "no trained module is significantly better"
    )
    return f"Use {name}: {verdict} (best: {label}, {shown})."


def _what_was_compared(comparison: Comparison) -> str:
    finalists, rows = comparison.finalists(), f"{len(comparison.labels):,} validation examples"
    entered = _count(len(comparison.contenders) - len(finalists), "baseline")
    if finalists:
        seeds = sorted({len(comparison.contenders[one].validation) for one in finalists})
        each = _count(seeds[-1], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
        of = "" if comparison.searched is None else f" of {_count(comparison.searched, 'configuration')}"
        entered = f"{_count(len(finalists), 'finalist')}{of} with {each} each and {entered}"
    return f"{entered} were compared on {rows}."


def _score(comparison: Comparison, validation: Interval) -> str:
    label, seeds = _label(comparison.choice), _count(validation.seeds, "seed")
    return (
        f"On validation, {label} reaches {comparison.metric} {validation.mean:.3f} "
        f"(95 % interval {validation.low:.3f} to {validation.high:.3f}, {seeds})."
    )


def _what_decided(comparison: Comparison) -> str:
    tied, contenders = comparison.tied, comparison.contenders
    others = [one for one in sorted(tied.members) if one != comparison.chosen]
    if not others:
        return _clear_lead(comparison)
    if comparison.chosen != tied.best:
        best, lead = contenders[tied.best], _points(comparison.less_choice(tied.best))
        sizes = f"{_size(comparison.choice.stored_bytes)} against {_size(best.stored_bytes)}"
        return (
            f"The highest score is {_label(best)}, {lead}{_correction(comparison, tied.best)}: "
            f"of the {len(tied.members)} that cannot be told apart, this is the cheapest ({sizes})."
        )
    names = ", ".join(_label(contenders[one]) for one in others)
    verb = "is" if len(others) == 1 else "are"
    return f"It has the highest score; {names} {verb} not significantly worse, but not cheaper either."


def _clear_lead(comparison: Comparison) -> str:
    differences = comparison.tied.differences
    others = [one for one in range(len(differences)) if one != comparison.chosen]
    if not others:
        return "Nothing else was there to compare it with."
    second = min(others, key=lambda one: differences[one].mean)
    return (
        f"It is significantly better than all others; next is {_label(comparison.contenders[second])}, "
        f"{_points(_turned(differences[second]))}."
    )


# --------------------------------------------------------------------------------------- words


def _correction(comparison: Comparison, other: int) -> str:
    """Says why a lead over the choice is none although its own interval leaves out zero."""
    lead = comparison.less_choice(other)
    if lead.low <= 0:
        return ""
    return f", not significant after correction for {len(comparison.contenders) - 1} comparisons"


def _turned(one: Difference) -> Difference:
    return Difference(-one.mean, -one.high, -one.low, one.p_value)


def _points(one: Difference) -> str:
    """A difference in points, that is, hundredths of the metric."""
    # Adding zero turns -0.0 into 0.0.
    mean, low, high = (round(100 * number, 1) + 0.0 for number in (one.mean, one.low, one.high))
    return f"{mean:+.1f} points, 95 % interval {low:.1f} to {high:.1f}"


def _name(contender: Compared) -> str:
    """A method's name, or a baseline's in words."""
    if isinstance(contender, Finalist):
        return contender.method
    return BASELINE_NAMES.get(contender.name, contender.name)


def _label(contender: Compared) -> str:
    name = _name(contender)
    return f"{name} (trial {contender.trial})" if isinstance(contender, Finalist) else name


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(stored_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if stored_bytes >= size:
            return f"{stored_bytes / size:.1f} {unit}"
    return _count(stored_bytes, "byte")
