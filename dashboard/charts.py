"""Data frames as plotly figures; text colours are left to the theme, so that light and dark both read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.words import METHODS, method_name

PALETTE = (
    *("#4C78A8", "#F58518", "#54A24B", "#B279A2", "#E45756", "#72B7B2", "#9D755D", "#D6A92B"),
    *("#7B6FD0", "#3B8E8C", "#E377B5", "#8C9A2E", "#A8456B", "#5FA8E0"),
)
"""Middle tones, readable on white and on black; one for each method of our own."""
GREY = "#888888"
MARKER_SIZE = 10


def colour_of(method: str) -> str:
    """The method's colour, the same on every chart and in every study."""
    known = list(METHODS)
    place = known.index(method) if method in known else crc32(method.encode())
    return PALETTE[place % len(PALETTE)]


def learning_curves(points: pd.DataFrame, metric: str) -> go.Figure:
    """Validation score over epochs, one line a trial, one colour a method.

    Columns: trial, method, epochs, score.
    """
    figure = go.Figure()
    known: set[str] = set()
    for trial, curve in points.groupby("trial", sort=True):
        method = str(curve["method"].iloc[0])
        figure.add_scatter(
            x=curve["epochs"],
            y=curve["score"],
            mode="lines+markers",
            name=method_name(method),
            legendgroup=method,
            showlegend=method not in known,
            line={"color": colour_of(method), "width": 2},
            marker={"size": 7},
            hovertemplate=f"trial {trial}, {method_name(method)}<br>"
            "%{y:.3f} after %{x} epochs<extra></extra>",
        )
        known.add(method)
    if len(points):
        ticks = sorted(set(points["epochs"]))
        figure.update_xaxes(tickvals=ticks, ticktext=epoch_ticks(ticks), range=[0, max(ticks) * 1.04])
        low, high = points["score"].min(), points["score"].max()
        margin = max(0.08 * (high - low), 0.02)  # a single score would else be drawn on a scale of its own
        figure.update_yaxes(range=[low - margin, high + margin])
    return _laid_out(figure, "epochs trained", f"validation {metric}")


def epoch_ticks(epochs: Sequence[float]) -> list[str]:
    """Epochs as an axis names them, such as 0.25, 0.5, 1 and 2."""
    return [f"{one:g}" for one in epochs]


@dataclass(frozen=True)
class Axis:
    """How a cost is drawn."""

    title: str
    hover: str
    """Said of a point, with its value as %{x}."""
    log: bool = True
    """Small and large modules lie decades apart."""


COSTS = {
    "parameters": Axis("trainable parameters, the head included", "%{x:,} trainable parameters"),
    "bytes": Axis("stored bytes", "%{x:,} bytes"),
    "latency": Axis("time for one text, in units of the plain backbone", "%{x:.2f} times", log=False),
    "seconds": Axis("device seconds of training", "%{x:.1f} s"),
    "memory": Axis("bytes of memory to train it alone, beside the backbone", "%{x:,} bytes of memory"),
}
"""Column -> its axis; smaller is better."""


def score_against_cost(
    trials: pd.DataFrame, baselines: pd.DataFrame, metric: str, cost: str = "parameters"
) -> go.Figure:
    """Validation score against a cost; the Pareto front joined, baselines as dashed lines.

    Columns of trials: trial, method, configuration, score, and the cost; of baselines: name, score.
    """
    axis = COSTS[cost]
    figure = go.Figure()
    front = pareto_front(trials, cost)
    figure.add_scatter(
        x=front[cost],
        y=front["score"],
        mode="lines+markers",
        name="Pareto front",
        line={"color": GREY, "width": 1.5, "shape": "hv"},
        marker={"symbol": "circle-open", "size": MARKER_SIZE + 8, "line": {"width": 2}},
        hoverinfo="skip",
    )
    for method in sorted(set(trials["method"])):
        group = trials[trials["method"] == method]
        figure.add_scatter(
            x=group[cost],
            y=group["score"],
            mode="markers",
            name=method_name(method),
            marker={"color": colour_of(method), "size": MARKER_SIZE},
            customdata=group[["trial", "configuration"]],
            hovertemplate=f"trial %{{customdata[0]}}, {method_name(method)}<br>%{{customdata[1]}}<br>"
            f"%{{y:.3f}}, {axis.hover}<extra></extra>",
        )
    low, high = _ends(trials[cost], axis) if len(trials) else (0.0, 1.0)
    _add_baselines(figure, baselines, (10**low, 10**high) if axis.log else (low, high))
    if len(trials):
        ticks = {"type": "log", "dtick": 1} if axis.log else {}
        figure.update_xaxes(range=[low, high], **ticks)
    title = f"{axis.title} (log scale)" if axis.log else axis.title
    return _laid_out(figure, title, f"validation {metric}")


def _add_baselines(figure: go.Figure, baselines: pd.DataFrame, ends: tuple[float, float]) -> None:
    """Dashed lines from edge to edge, as traces: these stand in the legend and can be switched off."""
    dashes = ("dash", "dot", "dashdot", "longdash")
    for i, row in enumerate(baselines.itertuples()):
        figure.add_scatter(
            x=list(ends),
            y=[row.score, row.score],
            mode="lines",
            name=f"baseline: {row.name}",
            line={"color": GREY, "width": 1.5, "dash": dashes[i % len(dashes)]},
            hovertemplate=f"baseline {row.name}: %{{y:.3f}}<extra></extra>",
        )


def _ends(costs: pd.Series[float], axis: Axis) -> tuple[float, float]:
    """Where an axis begins and ends: whole powers of ten around the costs, as exponents, or some space."""
    if not axis.log:
        space = max(0.06 * float(costs.max() - costs.min()), 0.05)
        return float(costs.min()) - space, float(costs.max()) + space
    low = float(np.floor(np.log10(max(costs.min(), 1)) - 0.05))
    return low, max(float(np.ceil(np.log10(max(costs.max(), 1)) + 0.05)), low + 1)


def pareto_front(trials: pd.DataFrame, cost: str = "parameters") -> pd.DataFrame:
    """The trials that no other beats: each scores higher than every cheaper or equally cheap one."""
    ordered = trials.dropna(subset=["score", cost])
    ordered = ordered.sort_values([cost, "score", "trial"], ascending=[True, False, True])
    before = ordered["score"].cummax().shift(fill_value=-np.inf)
    return ordered[ordered["score"] > before]


def intervals(contenders: pd.DataFrame, metric: str) -> go.Figure:
    """Mean and 95 % interval of finalists and baselines, validation above test, the best on top.

    Columns: name, split, mean, low, high (NaN where only one value was measured), recommended.
    """
    names = list(dict.fromkeys(contenders["name"]))
    place = {name: len(names) - i for i, name in enumerate(names)}
    figure = go.Figure()
    looks = {"validation": (PALETTE[0], "circle", 0.13), "test": (PALETTE[1], "diamond", -0.13)}
    for split, (colour, symbol, offset) in looks.items():
        rows = contenders[contenders["split"] == split]
        figure.add_scatter(
            x=rows["mean"],
            y=[place[name] + offset for name in rows["name"]],
            mode="markers",
            name=split,
            marker={"color": colour, "symbol": symbol, "size": MARKER_SIZE},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (rows["high"] - rows["mean"]).fillna(0),
                "arrayminus": (rows["mean"] - rows["low"]).fillna(0),
                "thickness": 2,
                "width": 5,
            },
            customdata=rows[["name"]],
            hovertemplate=f"%{{customdata[0]}}<br>{split} %{{x:.3f}}<extra></extra>",
        )
    chosen = set(contenders.loc[contenders["recommended"], "name"])
    labels = [f"<b>{name}</b>" if name in chosen else name for name in names]
    figure.update_yaxes(tickvals=[place[name] for name in names], ticktext=labels, zeroline=False)
    _laid_out(figure, metric, "")
    return figure.update_layout(height=130 + 56 * max(len(names), 2))


def _laid_out(figure: go.Figure, x: str, y: str) -> go.Figure:
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure.update_layout(
        height=400,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )
