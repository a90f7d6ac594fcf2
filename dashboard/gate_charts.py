"""The gates of one mixture as plotly figures; text colours are left to the theme."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from textwrap import wrap

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.charts import colour_of, epoch_ticks
from dashboard.words import module_name

CLOSED_TO_OPEN = ["#F3F4F6", "#B9D1EA", "#5B93CC"]
"""All light enough for a value in INK to be read on them, in the light theme and in the dark one."""
INK = "#16202B"
COLUMNS_ACROSS = 12
"""Columns of cells side by side that leave room to write a value in each."""
CELL_HEIGHT = 25
FRAME_HEIGHT = 54
"""Pixels above and below the cells, without the names of the columns."""
LINE_HEIGHT = 15
ROLE_WIDTH = 10
"""Letters in a line of a column's name: as many as a narrow column has room for."""
Place = tuple[str, str]
"""Module and role: a column of the map."""


def gate_maps(points: pd.DataFrame) -> go.Figure:
    """Mean gate by layer, and by module and role; one map a report, in the order of training.

    Layer 0 is at the bottom. A cell is blank where the layer has no such gate.

    Columns: epochs, layer, module, role, mean, deviation.
    """
    reports = {epochs: points[points["epochs"] == epochs] for epochs in sorted(set(points["epochs"]))}
    labels = _labels(points)
    layers = list(range(points["layer"].min(), points["layer"].max() + 1))
    across = max(1, min(len(reports), COLUMNS_ACROSS // len(labels)))
    down = -(-len(reports) // across)
    frame = FRAME_HEIGHT + LINE_HEIGHT * max(1 + label.count("<br>") for label in labels.values())
    height = len(layers) * CELL_HEIGHT + frame
    figure = make_subplots(
        down,
        across,
        shared_yaxes=True,
        subplot_titles=[f"after {_epochs(epochs)}" for epochs in reports],
        horizontal_spacing=0.02,
        vertical_spacing=frame / (down * height),
    )
    for i, report in enumerate(reports.values()):
        figure.add_trace(_map(report, layers, labels), row=i // across + 1, col=i % across + 1)
    figure.update_xaxes(tickangle=0, ticks="", showgrid=False, zeroline=False)
    names = ["embeddings" if layer < 0 else str(layer) for layer in layers]
    figure.update_yaxes(tickvals=layers, ticktext=names, ticks="", showgrid=False, zeroline=False)
    figure.update_yaxes(title="layer", col=1)
    scale = {"thickness": 12, "tickvals": [0, 0.5, 1], "ticktext": ["0 closed", "0.5", "1 open"]}
    return figure.update_layout(
        height=down * height,
        margin={"l": 10, "r": 10, "t": 34, "b": 10},
        coloraxis={"cmin": 0, "cmax": 1, "colorscale": CLOSED_TO_OPEN, "colorbar": scale},
    )


def gate_curves(means: pd.DataFrame) -> go.Figure:
    """Mean gate of each module over epochs, one line a module.

    Columns: epochs, module, mean, low, high.
    """
    figure = go.Figure()
    for module, curve in means.groupby("module"):
        name = module_name(str(module))
        figure.add_scatter(
            x=curve["epochs"],
            y=curve["mean"],
            mode="lines+markers",
            name=name,
            line={"color": colour_of(str(module)), "width": 2},
            marker={"size": 7},
            customdata=curve[["low", "high"]],
            hovertemplate=f"{name}: %{{y:.2f}} after %{{x}} epochs<br>"
            "from %{customdata[0]:.2f} to %{customdata[1]:.2f} over its gates<extra></extra>",
        )
    if len(means):
        ticks = sorted(set(means["epochs"]))
        figure.update_xaxes(tickvals=ticks, ticktext=epoch_ticks(ticks), range=[0, max(ticks) * 1.04])
    figure.update_xaxes(title="epochs trained")
    figure.update_yaxes(title="mean gate", range=[0, 1])
    return figure.update_layout(
        height=300,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        showlegend=True,
    )


def _map(report: pd.DataFrame, layers: list[int], labels: Mapping[Place, str]) -> go.Heatmap:
    def grid(values: str) -> pd.DataFrame:
        cells = report.pivot(index="layer", columns=["module", "role"], values=values)
        return cells.reindex(index=layers).reindex(columns=pd.MultiIndex.from_tuples(labels))

    return go.Heatmap(
        x=list(labels.values()),
        y=layers,
        z=grid("mean"),
        customdata=grid("deviation"),
        texttemplate="%{z:.2f}",
        textfont={"size": 12, "color": INK},
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[[label.replace("<br>", " ") for label in labels.values()]] * len(layers),
        hovertemplate="%{text}, layer %{y}<br>"
        "mean %{z:.3f}, standard deviation %{customdata:.3f}<extra></extra>",
        coloraxis="coloraxis",
    )


def _labels(points: pd.DataFrame) -> Mapping[Place, str]:
    """The columns of a map, by module; a role is named only where its module sits in several places."""
    places = sorted(dict.fromkeys(zip(points["module"], points["role"], strict=True)), key=itemgetter(0))
    count = Counter(module for module, _ in places)
    labels = {}
    for module, role in places:
        roles = wrap(role.replace("_", " "), ROLE_WIDTH) if count[module] > 1 else []
        labels[module, role] = "<br>".join([module_name(module), *roles])
    return labels


def _epochs(count: float) -> str:
    return f"{count:g} epoch{'s' if count != 1 else ''}"
