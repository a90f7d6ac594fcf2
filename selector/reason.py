"""The recommendation's reason: short sentences, each of which can be checked against the study."""

from __future__ import annotations

from collections.abc import Sequence

from selector.comparison import Comparison
from selector.contenders import Finalist
from selector.phrases import count, label, name_of, points, size
from selector.statistics import Difference, Interval


def reason(comparison: Comparison, validation: Interval) -> str:
    """What was compared, the score, who was tied and what decided, what it costs, what to expect.

    When a baseline or full fine-tuning is chosen, the first sentence says that it should be used.
    """
    choice = comparison.choice
    compared, score = _what_was_compared(comparison), _score(comparison, validation)
    if not isinstance(choice, Finalist):
        sentences = [_use_the_baseline(comparison), compared, score]
    elif choice.whole:
        sentences = [_use_full_finetuning(comparison), compared, score]
    else:
        sentences = [compared, score, _what_decided(comparison)]
    every = [
        *sentences,
        _full_finetuning(comparison),
        _cost(comparison),
        _beyond(comparison),
        _expectation(comparison),
    ]
    return " ".join(one for one in every if one)


# ------------------------------------------------------------------------- what should be used


def _use_the_baseline(comparison: Comparison) -> str:
    name = name_of(comparison.choice)
    finalists = comparison.finalists()
    if not finalists:
        trained = any(isinstance(one, Finalist) for one in comparison.beyond)
        why = "no trained module is within the limits" if trained else "no module was trained to the end"
        return f"Use {name}: {why}."
    best = finalists[0]
    lead = comparison.less_choice(best)
    shown = f"{points(lead)}{_correction(comparison, best)}"
    inside = label(comparison.contenders[best]).replace(" (", ", ").replace(")", "")
    verdict = (
        "every trained module is worse" if lead.high < 0 else "no trained module is significantly better"
    )
    return f"Use {name}: {verdict} (best: {inside}, {shown})."


def _use_full_finetuning(comparison: Comparison) -> str:
    """It stores most, so it is chosen only when it is tied with nobody."""
    second = _second(comparison)
    if second is None:
        return "Use full fine-tuning: nothing else was there to compare it with."
    return (
        f"Use full fine-tuning: it is significantly better than everything that costs less, "
        f"at best {label(comparison.contenders[second])}, {points(_behind(comparison, second))}."
    )


# ---------------------------------------------------------------------------- what was compared


def _what_was_compared(comparison: Comparison) -> str:
    contenders = comparison.contenders
    trained = [one for one in contenders if isinstance(one, Finalist)]
    modules = [one for one in trained if not one.whole]
    entered = []
    if modules:
        of = "" if comparison.asked is None else f" of {count(comparison.asked.searched, 'configuration')}"
        entered.append(f"{count(len(modules), 'finalist')}{of} with {_seeds(modules)} each")
    entered += [f"full fine-tuning with {_seeds([one])}" for one in trained if one.whole]
    if len(trained) < len(contenders):
        entered.append(count(len(contenders) - len(trained), "baseline"))
    return f"{_listed(entered)} were compared on {len(comparison.labels):,} validation examples."


def _seeds(finalists: Sequence[Finalist]) -> str:
    numbers = sorted({len(one.validation) for one in finalists})
    return count(numbers[-1], "seed") if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _score(comparison: Comparison, validation: Interval) -> str:
    choice = comparison.choice
    said = (
        f"On validation, {label(choice)} reaches {comparison.metric} {validation.mean:.3f} "
        f"(95 % interval {validation.low:.3f} to {validation.high:.3f}, {count(validation.seeds, 'seed')})"
    )
    if isinstance(choice, Finalist) and choice.search_score is not None:
        said += f"; the search had scored it {choice.search_score:.3f}, with one seed"
    return f"{said}."


# --------------------------------------------------------------------------------- what decided


def _what_decided(comparison: Comparison) -> str:
    tied, contenders = comparison.tied, comparison.contenders
    others = [one for one in sorted(tied.members) if one != comparison.chosen]
    if not others:
        return _clear_lead(comparison)
    if comparison.chosen != tied.best:
        best, lead = contenders[tied.best], points(comparison.less_choice(tied.best))
        sizes = f"{size(comparison.choice.stored_bytes)} against {size(best.stored_bytes)}"
        return (
            f"The highest score is {label(best)}, {lead}{_correction(comparison, tied.best)}: "
            f"of the {len(tied.members)} that cannot be told apart, this is the cheapest ({sizes})."
        )
    names = ", ".join(label(contenders[one]) for one in others)
    verb = "is" if len(others) == 1 else "are"
    return f"It has the highest score; {names} {verb} not significantly worse, but not cheaper either."


def _clear_lead(comparison: Comparison) -> str:
    second = _second(comparison)
    if second is None:
        return "Nothing else was there to compare it with."
    return (
        f"It is significantly better than all others; next is {label(comparison.contenders[second])}, "
        f"{points(_behind(comparison, second))}."
    )


def _second(comparison: Comparison) -> int | None:
    """The position of the highest score beside that of the choice."""
    differences = comparison.tied.differences
    others = [one for one in range(len(differences)) if one != comparison.chosen]
    return min(others, key=lambda one: differences[one].mean) if others else None


def _behind(comparison: Comparison, position: int) -> Difference:
    """A contender less the best."""
    one = comparison.tied.differences[position]
    return Difference(-one.mean, -one.high, -one.low, one.p_value)


def _correction(comparison: Comparison, other: int) -> str:
    """Says why a lead over the choice is none although its own interval leaves out zero."""
    lead = comparison.less_choice(other)
    if lead.low <= 0:
        return ""
    return f", not significant after correction for {len(comparison.contenders) - 1} comparisons"


# ----------------------------------------------------------------- what it costs, what to expect


def _full_finetuning(comparison: Comparison) -> str:
    """Where full fine-tuning stands, unless it is the choice or was just named beside it."""
    if comparison.left_out:
        return f"Full fine-tuning was left out: {comparison.left_out}."
    tied = comparison.tied
    named = {comparison.chosen, tied.best, _second(comparison) if len(tied.members) == 1 else None}
    for position, one in enumerate(comparison.contenders):
        if isinstance(one, Finalist) and one.whole and position not in named:
            if position in tied.members:
                lead = comparison.less_choice(position)
                return f"Full fine-tuning is not significantly better, {points(lead)}."
            behind = points(_behind(comparison, position))
            return f"Full fine-tuning is significantly worse than the best, {behind}."
    return ""


def _cost(comparison: Comparison) -> str:
    choice, stored = comparison.choice, size(comparison.choice.stored_bytes)
    if not isinstance(choice, Finalist):
        needs = "needs the plain backbone" if choice.on_backbone else "runs without the backbone"
        return f"It {needs} and stores {stored}."
    said = f"It trains {choice.trainable_parameters:,} parameters and stores {stored}"
    if choice.whole:
        said += ", a backbone for this task alone"
    if (known := choice.latency) is not None:
        said += (
            f"; one text of {known['tokens']} tokens takes {known['ms']:.1f} ms on {known['device']}, "
            f"{known['ratio']:.2f} times what the plain backbone takes"
        )
    return f"{said}."


def _beyond(comparison: Comparison) -> str:
    ruled_out = ", ".join(map(label, comparison.beyond))
    return f"Beyond the limits, and so not to choose from: {ruled_out}." if ruled_out else ""


def _expectation(comparison: Comparison) -> str:
    best = label(comparison.contenders[comparison.tied.best])
    number = len(comparison.contenders)
    if number < 2:
        return ""
    drop = f"{100 * comparison.drop:.1f}"
    expected = "not expected to be lower" if drop == "0.0" else f"expected to be {drop} points lower"
    return f"The highest of the {number} scores, that of {best}, is {expected} on new data (winner's curse)."
