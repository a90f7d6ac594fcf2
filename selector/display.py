"""A study on a terminal: pure functions from records to rich tables and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from selector.leaderboard import Row, baselines, leaderboard
from selector.narrowing import searched_in_words
from selector.phrases import BASELINE_NAMES, size
from selector.study import DEFAULT_DATABASE
from storage.records import State, Study


def print_study(study: Study, database: str, console: Console) -> None:
    """Everything that a person wants to know of a study."""
    task = study.task
    rows = ", ".join(f"{count} {split}" for split, count in task["rows"].items())
    labels = f"{len(task['labels'])} labels, " if task["labels"] else ""
    console.print(f"{study.name}: {task['kind']}, {labels}{rows} rows", soft_wrap=True)
    if study.spec.get("head", "mean") != "mean":
        console.print(f"head: {study.spec['head']}")
    if searched := searched_in_words(study.spec):
        console.print(f"searched with {searched}", soft_wrap=True)
    if study.baselines:
        console.print(baselines_table(study))
    if study.trials:
        console.print(leaderboard_table(study))
    if study.recommendation is not None:
        _print_recommendation(study, study.recommendation, console)
    if study.message and (study.recommendation is None or study.state is State.COMPLETE):
        console.print(f"{study.state}: {study.message}", soft_wrap=True)
    if study.exports:
        export = study.exports[-1]
        console.print(f"\nexport: {export.folder}", soft_wrap=True)
        console.print(f"predict: peltier predict {export.folder} INPUT", soft_wrap=True)
    console.print(f"dashboard: {dashboard_command(database)}", soft_wrap=True)


def dashboard_command(database: str) -> str:
    """What opens the dashboard on this database; a server's URL is not repeated, it may hold a password."""
    if database == DEFAULT_DATABASE:
        return "peltier dashboard"
    return f"peltier dashboard --database {database if database.startswith('sqlite') else 'URL'}"


def baselines_table(study: Study) -> Table:
    """The baselines with their validation and test scores."""
    metric = study.task["metric"]
    table = Table(
        "baseline", f"validation {metric}", f"test {metric}", title="baselines", title_justify="left"
    )
    for row in baselines(study):
        name = BASELINE_NAMES.get(row.name, row.name).removeprefix("the ")
        table.add_row(name, f"{row.validation:.3f}", "" if row.test is None else f"{row.test:.3f}")
    return table


def leaderboard_table(study: Study, rows: int | None = None) -> Table:
    """The trials of the search, the best first."""
    metric = study.task["metric"]
    table = Table(title="configurations tried", title_justify="left")
    shown = leaderboard(study)[:rows]
    timed = any(row.latency is not None for row in shown)
    names = ["trial", "method", "state", "epochs", f"validation {metric}", "parameters"]
    for name in [*names, "latency"] if timed else names:
        table.add_column(name, no_wrap=True)
    table.add_column("configuration", ratio=1)
    table.add_column("origin", overflow="fold", width=10)
    for row in shown:
        latency = "" if row.latency is None else f"{row.latency:.2f}x"
        table.add_row(*_cells(row), *([latency] if timed else []), row.config, row.origin)
    return table


def _cells(row: Row) -> Sequence[str]:
    score = "" if row.validation is None else f"{row.validation:.3f}"
    parameters = "" if row.trainable_parameters is None else f"{row.trainable_parameters:,}"
    method = BASELINE_NAMES.get(row.method, row.method)
    return str(row.number), method, str(row.state).lower(), f"{row.epochs:g}", score, parameters


def _print_recommendation(study: Study, recommendation: Mapping[str, Any], console: Console) -> None:
    metric = study.task["metric"]
    trial = "" if recommendation["trial"] is None else f" (trial {recommendation['trial']})"
    console.print(f"\nrecommended: {recommendation['method']}{trial}", style="bold", soft_wrap=True)
    console.print(recommendation["reason"], soft_wrap=True)
    for split in ("validation", "test"):
        found = recommendation[split]
        console.print(
            f"{split} {metric}: {found['mean']:.3f}, "
            f"95 % interval {found['low']:.3f} to {found['high']:.3f}, "
            f"{found['seeds']} seed{'s' if found['seeds'] > 1 else ''}",
            soft_wrap=True,
        )
    _print_doubts(recommendation, metric, console)
    for other in recommendation["alternatives"]:
        name = other["method"] if other["trial"] is None else f"{other['method']} (trial {other['trial']})"
        console.print(
            f"{other['why']}: {name}, validation {metric} {other['validation']['mean']:.3f}, "
            f"{other['stored_bytes']:,} bytes{_latency(other.get('latency'))}",
            soft_wrap=True,
        )
    front = recommendation.get("front")
    if front and front["trials"]:
        console.print(front_table(front, metric))
    elif front:
        console.print("no Pareto front: no configuration was trained to the end", soft_wrap=True)


def _latency(latency: Mapping[str, Any] | None) -> str:
    return "" if latency is None else f", {latency['ratio']:.2f}x the plain backbone's time"


def front_table(front: Mapping[str, Any], metric: str) -> Table:
    """The Pareto front of a study with several objectives."""
    words = {"metric": f"validation {metric}", "latency": "latency (x)"}
    title = f"Pareto front, hypervolume {front['hypervolume']:.3f}"
    table = Table(title=title, title_justify="left")
    for name in ("trial", *(words.get(name, name) for name in front["objectives"])):
        table.add_column(name, no_wrap=True)
    for trial, values in zip(front["trials"], front["values"], strict=True):
        cells = map(_value, front["objectives"], values)
        table.add_row(str(trial), *cells)
    return table


def _value(objective: str, value: float) -> str:
    if objective in ("bytes", "memory"):
        return size(round(value))
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"


def _print_doubts(recommendation: Mapping[str, Any], metric: str, console: Console) -> None:
    """When the test split was opened, what the highest score hides, and what would change the choice."""
    if "test_opened" not in recommendation:
        return  # a study of an earlier version
    opened = datetime.fromisoformat(recommendation["test_opened"]).astimezone()
    console.print(f"test was opened once, after the choice: {opened:%Y-%m-%d %H:%M}", soft_wrap=True)
    curse = recommendation["winners_curse"]
    console.print(
        f"winner's curse: the highest of {curse['contenders']} validation scores, {curse['highest']:.3f}, "
        f"is expected to be {curse['highest'] - curse['expected_drop']:.3f} on new data",
        soft_wrap=True,
    )
    if recommendation["would_change"]:
        console.print("what would change the choice:", soft_wrap=True)
    for line in recommendation["would_change"]:
        console.print(f"- {line}", soft_wrap=True)


def studies_table(studies: Sequence[Study]) -> Table:
    """The list of studies, the newest first."""
    table = Table("number", "study", "state", "started", "")
    for study in studies:
        started = study.created.astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(str(study.id), study.name, str(study.state).lower(), started, study.message)
    return table
