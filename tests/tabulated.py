"""A tabulated objective: what every configuration of a space scores after how many epochs, without training.

Scores follow `ceiling - (ceiling - START) * exp(-speed * epochs)`. The ceiling is a method's top less
what its fields lose by not standing at their best; the speed grows with the learning rate, so curves
cross.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np

from selector.narrowed import narrowed
from selector.space import Space, key_of, space_of
from trainers.cost import Cost
from trainers.domains import Choice
from trainers.method import METHODS, MethodConfig, domains
from trainers.naming import method_named

START = 0.5
"""The score before any training."""
Loss = Callable[[Any], float]
"""Value of a field -> what the ceiling loses by it."""


def away(best: float, loss: float, most: float = 0.2) -> Loss:
    """So much for a factor of two, four times as much for a factor of four; never more than `most`."""
    return lambda value: min(most, loss * math.log2(value / best) ** 2)


def unless(best: object, loss: float) -> Loss:
    """So much for every other value."""
    return lambda value: 0.0 if value == best else loss


@dataclass(frozen=True)
class Peak:
    """One method: its best score, where it has it, and how fast it learns."""

    top: float
    rate: float
    """The best learning rate."""
    speed: float
    """Of learning, an epoch, at the best learning rate."""
    losses: Mapping[str, Loss] = field(default_factory=dict)
    """Field -> what its values lose; fields that are not here make no difference."""
    best: Mapping[str, Any] = field(default_factory=dict)
    """Field -> its best value."""
    epoch_seconds: float = 1.0
    bytes_per_unit: float = 4000.0
    """Stored bytes for each unit of rank, bottleneck and length."""

    @property
    def rate_loss(self) -> Loss:
        return away(self.rate, 0.01)


@dataclass(frozen=True)
class Landscape:
    """A space in which the score of everything is known."""

    peaks: Mapping[str, Peak]
    seed_noise: float = 0.0
    """Standard deviation of a training's score over its seeds, the same all along its curve."""
    rung_noise: float = 0.0
    """Standard deviation of each single measurement."""
    fails: Callable[[MethodConfig], str] = lambda config: ""
    """The message with which a configuration cannot be trained; empty for the others."""
    diverges: Callable[[MethodConfig], bool] = lambda config: False
    """Whether the loss of a configuration becomes NaN in its first rung."""

    @property
    def space(self) -> Space:
        """All of the space of its methods, but for fields that no score depends on."""
        settled = {"warmup": 0.06, "class_weights": "none"}
        return narrowed(space_of([method_named(name) for name in self.peaks]), {"all": settled})

    def ceiling(self, config: MethodConfig) -> float:
        """The expected score of endless training."""
        peak, values = self.peaks[config.name], config.values()
        lost = sum(loss(values[name]) for name, loss in peak.losses.items() if name in values)
        return peak.top - lost - peak.rate_loss(config.learning_rate)

    def speed(self, config: MethodConfig) -> float:
        """A learning rate above the best learns faster, towards a lower ceiling."""
        peak = self.peaks[config.name]
        return peak.speed * min(4.0, max(0.25, (config.learning_rate / peak.rate) ** 0.5))

    def expected(self, config: MethodConfig, epochs: float) -> float:
        """The score after so many epochs, over all seeds."""
        ceiling = self.ceiling(config)
        return ceiling - (ceiling - START) * math.exp(-self.speed(config) * epochs)

    def score(self, config: MethodConfig, epochs: int, seed: int) -> float:
        """What one training is measured with; the same arguments give the same score."""
        name = crc32(repr(key_of(config)).encode())
        of_seed = np.random.default_rng([name, seed]).normal(0, 1)
        of_rung = np.random.default_rng([name, seed, int(epochs)]).normal(0, 1)
        found = self.expected(config, epochs) + self.seed_noise * of_seed + self.rung_noise * of_rung
        return min(1.0, max(0.0, float(found)))

    def curve(self, config: MethodConfig, epochs: int, seed: int = 0) -> list[float]:
        """The scores after 1, 2, ..., `epochs`."""
        return [self.score(config, after, seed) for after in range(1, epochs + 1)]

    def epoch_seconds(self, config: MethodConfig) -> float:
        """Device seconds of one epoch."""
        return self.peaks[config.name].epoch_seconds

    def cost(self, config: MethodConfig) -> Cost:
        """Trained parameters and stored bytes: in proportion to what is large or small in a method."""
        values = config.values()
        units = sum(int(values.get(name, 0)) for name in ("rank", "bottleneck", "prefix_length")) or 1
        parameters = round(units * self.peaks[config.name].bytes_per_unit / 4)
        return Cost(module_parameters=parameters, deployed_parameters=parameters, head_parameters=100)

    def optimum(self) -> MethodConfig:
        """The configuration with the highest ceiling of all."""
        name, peak = max(self.peaks.items(), key=lambda item: item[1].top)
        return METHODS[name].from_values({**peak.best, "learning_rate": peak.rate})

    def only(self, *names: str) -> Landscape:
        """The same with some of its methods."""
        return replace(self, peaks={name: self.peaks[name] for name in names})


TREE = Landscape(
    {
        "lora": Peak(
            0.90,
            rate=4e-3,
            speed=0.5,
            losses={
                "rank": away(16, 0.005),
                "targets": unless("all linear", 0.03),
                "dora": unless(True, 0.01),
            },
            best={"rank": 16, "targets": "all linear", "dora": True},
        ),
        "unipelt": Peak(
            0.88,
            rate=2e-3,
            speed=0.35,
            losses={
                "modules": unless("APL", 0.03),
                "bottleneck": away(64, 0.003),
                "prefix_length": away(8, 0.002),
                "gate_start": unless(0.9, 0.01),
            },
            best={"modules": "APL", "bottleneck": 64, "prefix_length": 8, "gate_start": 0.9},
            epoch_seconds=1.6,
        ),
        "adapter": Peak(
            0.86, rate=1e-3, speed=0.8, losses={"bottleneck": away(64, 0.005)}, best={"bottleneck": 64}
        ),
        "bitfit": Peak(0.82, rate=6e-3, speed=0.25, epoch_seconds=0.7, bytes_per_unit=40_000.0),
    }
)
"""Four methods as they are searched: conditional fields, one best configuration, good ones that start slowly.

It deceives: with its default the adapter is ahead of LoRA, which wins when both are at their best.
"""


def drawn(seed: int, *names: str) -> Landscape:
    """A landscape drawn at random for some methods: tops, best values, and what other values lose."""
    generator = np.random.default_rng(seed)
    return Landscape({name: _drawn_peak(method_named(name), generator) for name in names})


def _drawn_peak(method: type[MethodConfig], generator: np.random.Generator) -> Peak:
    usual, best, losses = method(), {}, {}
    for name, domain in domains(method).items():
        default = getattr(usual, name)
        if isinstance(domain, Choice):
            lost = dict(zip(domain.options, generator.exponential(0.01, len(domain.options)), strict=True))
            best[name] = min(lost, key=lambda option: lost[option])
            least = lost[best[name]]
            losses[name] = lambda value, lost=lost, least=least: float(lost.get(value, 0.05) - least)
        else:
            centre = default * 2 ** generator.normal(0, 1)
            best[name] = type(default)(min(max(centre, domain.low), domain.high))
            losses[name] = away(best[name], generator.exponential(0.004))
    rate = best.pop("learning_rate")
    losses.pop("learning_rate")
    return Peak(
        top=float(min(0.97, generator.normal(0.86, 0.02))),
        rate=rate,
        speed=float(generator.uniform(0.2, 0.9)),
        losses=losses,
        best=best,
        epoch_seconds=float(generator.uniform(0.7, 1.6)),
    )
