"""From the trials of a study to its recommendation, and to the module that goes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays

from selector.bootstrap import Predictions
from selector.comparison import Asked
from selector.contenders import Compared, Contender, Finalist, within
from selector.edges import at_edge
from selector.finite import fewer_than
from selector.full_finetuning import LEARNING_RATES, METHOD, proposed
from selector.jobs import EARLY_STOPPING, Logits
from selector.leaderboard import middle_latency
from selector.limits import NO_LIMITS, Limits
from selector.phrases import as_whole, count
from selector.recommend import Recommendation, recommend
from selector.search import SearchError
from selector.space import Space
from selector.study import INTERRUPTED, RequestError
from storage.files import Files
from storage.records import Baseline, State, Study, Trial
from trainers.building import method_named
from trainers.domains import Domain, Float
from trainers.method import domains
from trainers.task import Split, Task


def decide(
    study: Study, files: Files, task: Task, space: Space, left_out: str = "", limits: Limits = NO_LIMITS
) -> Recommendation:
    """Recommend from the repeats of the finalists and from the baselines, as far as the limits allow.

    `space` is what was searched, and `left_out` says why full fine-tuning was not compared.

    Raises:
        SearchError: if no repeat of any finalist could be trained, or none of all is within the limits.
    """
    repeats = finished_repeats(study)
    if not repeats:
        failed = [trial.message for trial in study.trials if trial.repeat_of is not None and trial.message]
        raise SearchError(
            f"no finalist could be repeated: {failed[0] if failed else 'no repeat was trained'}"
        )
    trials = {trial.number: trial for trial in study.trials}
    finalists = [_finalist(trials[number], group, files, task, space) for number, group in repeats.items()]
    baselines = [_baseline(baseline, files, task) for baseline in study.baselines]
    everyone: list[Compared] = [*finalists, *baselines]
    beyond = [one for one in everyone if not within(one, limits)]
    if len(beyond) == len(everyone):
        raise SearchError(f"neither a finalist nor a baseline is within the limits; {_fastest(beyond)}")
    recommendation = recommend(
        [one for one in finalists if within(one, limits)],
        [one for one in baselines if within(one, limits)],
        beyond=beyond,
        validation_labels=_truth(task, task.validation),
        test_labels=_truth(task, task.test),
        metric=task.metric,
        classes=task.labels,
        asked=_asked(study, space),
        left_out="" if any(finalist.whole for finalist in finalists) else left_out or _given_up(study),
        seed=study.spec["seed"],
    )
    if task.folds is None:
        return recommendation
    return replace(recommendation, reason=f"{recommendation.reason} {_out_of_fold(task.fold_count)}")


def _out_of_fold(folds: int) -> str:
    return (
        f"Validation scores are out of fold, {folds} folds: each row is scored by what was trained on the "
        f"other {folds - 1}; what is exported is trained on all of them."
    )


def test_scores(
    study: Study, files: Files, task: Task
) -> tuple[dict[int, Mapping[str, float]], dict[str, Mapping[str, float]]]:
    """Metrics on the test split: of finalists' repeats by number, of baselines by name."""

    def metrics(owner: Trial | Baseline) -> Mapping[str, float]:
        found: Mapping[str, float] = task.metrics(task.test, _logits(owner, files)["test"])
        return found

    repeats = [trial for group in finished_repeats(study).values() for trial in group]
    return (
        {trial.number: metrics(trial) for trial in repeats},
        {baseline.name: metrics(baseline) for baseline in study.baselines},
    )


def _given_up(study: Study) -> str:
    """Why full fine-tuning has no finished repeat although it was to have some."""
    repeats = [trial for trial in study.trials if trial.repeat_of is not None and trial.method == METHOD]
    return next((trial.message for trial in repeats if trial.message), "")


def _asked(study: Study, space: Space) -> Asked:
    searched = [t for t in study.trials if proposed(t, study.spec["methods"]) and t.message != INTERRUPTED]
    trials = fewer_than(study.spec["trials"], space) or study.spec["trials"]
    return Asked(trials=trials, searched=len(searched), seeds=study.spec["seeds"])


def finished_repeats(study: Study) -> dict[int, list[Trial]]:
    """Number of a finalist -> its finished repeats."""
    groups: dict[int, list[Trial]] = {}
    for trial in study.trials:
        if trial.repeat_of is not None and trial.state is State.COMPLETE:
            groups.setdefault(trial.repeat_of, []).append(trial)
    return groups


def _fastest(contenders: Sequence[Compared]) -> str:
    timed = [one for one in contenders if one.latency is not None]
    if not timed:
        return "give larger ones"
    best = min((one.latency for one in timed if one.latency is not None), key=lambda one: float(one["ratio"]))
    return f"the fastest takes {best['ratio']:.2f}x the plain backbone, {best['ms']:.2f} ms"


def _finalist(trial: Trial, repeats: Sequence[Trial], files: Files, task: Task, space: Space) -> Finalist:
    logits = [_logits(repeat, files) for repeat in repeats]
    whole = trial.state is State.COMPLETE
    return Finalist(
        trial=trial.number,
        method=trial.method,
        config=trial.config,
        stored_bytes=trial.stored_bytes or 0,
        trainable_parameters=trial.trainable_parameters or 0,
        latency=middle_latency([trial, *repeats]),
        validation=_predictions(task, task.validation, [each["validation"] for each in logits]),
        test=_predictions(task, task.test, [each["test"] for each in logits]),
        curve=tuple((one.epochs, one.metrics[task.metric]) for one in trial.reports) if whole else (),
        stopped=trial.message.startswith(EARLY_STOPPING),
        at_edge=at_edge(trial.config, _ranges(trial.method, space)),
    )


def _ranges(method: str, space: Space) -> Mapping[str, Domain]:
    """What was searched; of full fine-tuning, which is not, the learning rates that every study tries."""
    if method in space.domains:
        return space.domains[method]
    rates = Float(min(LEARNING_RATES), max(LEARNING_RATES), log=True)
    return {**domains(method_named(method)), "learning_rate": rates}


def _baseline(baseline: Baseline, files: Files, task: Task) -> Contender:
    logits = _logits(baseline, files)
    return Contender(
        name=baseline.name,
        config=baseline.config,
        stored_bytes=baseline.stored_bytes,
        trainable_parameters=baseline.trainable_parameters,
        on_backbone=baseline.module_file is not None,
        latency=baseline.latency,
        validation=_predictions(task, task.validation, [logits["validation"]]),
        test=_predictions(task, task.test, [logits["test"]]),
    )


def _predictions(task: Task, split: Split, logits: Sequence[Logits]) -> Predictions:
    return task.outcomes(split, np.stack(logits))[0]


def _truth(task: Task, split: Split) -> Predictions:
    """What the predictions are compared with, whoever made them."""
    return task.outcomes(split, np.zeros((len(split.labels), task.outputs), np.float32))[1]


def _logits(owner: Trial | Baseline, files: Files) -> Mapping[str, Logits]:
    assert owner.predictions_file is not None
    found: Mapping[str, Logits] = load_arrays(files.path(owner.predictions_file).read_bytes())
    return found


def _own_logits(owner: Trial | Baseline, files: Files) -> Logits:
    # Out of fold it is not the module that gives the validation logits.
    found = _logits(owner, files)
    return found.get("module", found["validation"])


# ------------------------------------------------------------------------------------ exporting


@dataclass(frozen=True)
class Chosen:
    """A module that can be exported, with what is known of it."""

    trial: int | None
    baseline: str | None
    module: bytes
    logits: Logits
    """What the module gives on the validation rows at the end of training, fp32."""
    facts: Mapping[str, Any]
    """Scores and provenance for the manifest."""


def module_to_export(study: Study, files: Files, number: int | None) -> Chosen:
    """The module of a trial, or of the recommendation when no number is given.

    A finalist was trained with several seeds; the one with the best validation
    score goes out.

    Raises:
        RequestError: if there is no such module, naming those that there are.
    """
    if number is None:
        recommendation = study.recommendation
        if recommendation is None:
            raise RequestError(f"study {study.name} has no recommendation yet; {_possible(study)}")
        if recommendation["trial"] is None:
            return _baseline_module(study, recommendation["method"], files)
        number = int(recommendation["trial"])
    trial = next((trial for trial in study.trials if trial.number == number), None)
    if trial is None or trial.repeat_of is not None:
        raise RequestError(f"study {study.name} has no trial {number}; {_possible(study)}")
    metric = study.task["metric"]
    trained = [t for t in (*finished_repeats(study).get(number, []), trial) if t.module_file is not None]
    repeats = [t for t in trained if t.repeat_of is not None]
    if not trained:
        raise RequestError(
            f"trial {number} is {trial.state} after {count(trial.epochs, 'epoch')} and left no module; "
            f"{_possible(study)}"
        )
    best = max(repeats or trained, key=lambda t: t.reports[-1].metrics[metric])
    assert best.module_file is not None
    scores = {
        "validation": dict(best.reports[-1].metrics),
        "test": None if best.test is None else dict(best.test),
    }
    facts = {"trial": number, "training_seed": best.seed, "epochs": as_whole(best.epochs), "scores": scores}
    if best.message:
        facts["early_stopping"] = best.message.removeprefix(EARLY_STOPPING)
    return Chosen(
        trial=number,
        baseline=None,
        module=files.path(best.module_file).read_bytes(),
        logits=_own_logits(best, files),
        facts={**facts, **_why(study, number)},
    )


def _baseline_module(study: Study, name: str, files: Files) -> Chosen:
    baseline = next(baseline for baseline in study.baselines if baseline.name == name)
    if baseline.module_file is None:
        raise RequestError(
            f"the recommended baseline {name} is no module on the backbone; {_possible(study)}"
        )
    scores = {"validation": dict(baseline.validation), "test": dict(baseline.test)}
    return Chosen(
        trial=None,
        baseline=name,
        module=files.path(baseline.module_file).read_bytes(),
        logits=_own_logits(baseline, files),
        facts={"baseline": name, "scores": scores, **_why(study, None, name)},
    )


def left_module(study: Study) -> bool:
    """Whether the recommended contender is a module that can be exported: texts' baselines are none."""
    assert study.recommendation is not None
    chosen = study.recommendation["trial"]
    if chosen is None:
        name = study.recommendation["method"]
        return any(one.name == name and one.module_file is not None for one in study.baselines)
    return any(chosen in (t.number, t.repeat_of) and t.module_file is not None for t in study.trials)


def _why(study: Study, number: int | None, baseline: str | None = None) -> dict[str, Any]:
    """Whether and why it is recommended; `results` are its scores, of a finalist over its seeds."""
    recommendation = study.recommendation
    compared = [] if recommendation is None else recommendation.get("compared", [])
    of_it = [c for c in compared if c["trial"] == number and (number is not None or c["method"] == baseline)]
    results = {split: of_it[0][split] for split in ("validation", "test")} if of_it else None
    if recommendation is None or recommendation["trial"] != number:
        return {"recommended": False, "results": results}
    kept = ("reason", "validation", "test")
    return {
        "recommended": True,
        "recommendation": {key: recommendation[key] for key in kept},
        "results": results or {split: recommendation[split] for split in ("validation", "test")},
    }


def _possible(study: Study) -> str:
    kept = [t for t in study.trials if t.module_file is not None]
    numbers = sorted({t.number if t.repeat_of is None else t.repeat_of for t in kept})
    if not numbers:
        return "it has no trained module yet"
    return f"export one of its trained trials with --trial: {', '.join(map(str, numbers))}"
