"""Keeps a search space within size limits: methods that fit, and configurations made to fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

from selector.full_finetuning import METHOD as FULL
from selector.limits import Limits
from selector.space import Space, defaults
from selector.study import RequestError, StudySpec
from trainers.backbone import outline
from trainers.building import costs_on, method_named
from trainers.cost import Cost
from trainers.domains import Choice, Domain, Float, Int, Value
from trainers.method import MethodConfig

Costs = Callable[[MethodConfig], Cost | None]
Fit = Callable[[MethodConfig], MethodConfig]
"""Gives a configuration back if it is within the limits, else a smaller one that is."""


def unlimited(config: MethodConfig) -> MethodConfig:
    """The `Fit` of a search without limits."""
    return config


@dataclass(frozen=True)
class Fitting:
    """A space, as far as it fits."""

    space: Space
    fit: Fit
    reasons: tuple[str, ...]
    """What is left out, and why: one line each."""
    limits: Limits
    cost: Costs
    no_full: str = ""
    """Why full fine-tuning cannot be a baseline; empty where it can."""


def fitting_of(spec: StudySpec, space: Space, outputs: int) -> Fitting:
    """A request's space within its limits, for heads that give so many numbers.

    Raises:
        RequestError: if no configuration is within them.
    """
    limits = spec.limits(outline(spec.backbone, spec.dtype).parameters)
    try:
        found = fitting(space, costs_on(spec.backbone, outputs, spec.dtype, spec.head), limits)
    except ValueError as error:
        raise RequestError(str(error)) from None
    no_full = _why_not_full(spec, limits, found.cost)
    if not no_full or not spec.full_finetuning or FULL in (spec.methods or ()):
        return replace(found, no_full=no_full)
    told = f"full fine-tuning is left out: {no_full}"
    return replace(found, no_full=no_full, reasons=(*found.reasons, told))


def _why_not_full(spec: StudySpec, limits: Limits, cost: Costs) -> str:
    config = method_named(FULL)()
    if config.missing(outline(spec.backbone, spec.dtype).sites):
        return f"weights in {spec.dtype} cannot be trained"
    found = cost(config)
    if found is None or limits.use(found.trainable_parameters, found.stored_bytes) <= 1:
        return ""
    return f"it has {_sizes(found)}, beyond {limits.sizes()}"


def fitting(space: Space, cost: Costs, limits: Limits) -> Fitting:
    """The methods whose smallest configuration is within the limits, on domains without hopeless values.

    Raises:
        ValueError: if no method is left, with the smallest configuration that there is.
    """
    if not limits.on_size:
        return Fitting(space, unlimited, (), limits, cost)

    def use(config: MethodConfig) -> float:
        found = cost(config)  # None where it cannot be built: whoever trains it will say why
        return 0.0 if found is None else limits.use(found.trainable_parameters, found.stored_bytes)

    smallest = {method.name: smallest_of(method, space.domains[method.name], use) for method in space.methods}
    kept = [name for name, config in smallest.items() if use(config) <= 1]
    if not kept:
        least = min(smallest.values(), key=use)
        raise ValueError(
            f"no configuration is within {limits.sizes()}; "
            f"the smallest possible is {least.name} with {_sizes(cost(least))}"
        )
    narrowed = {name: _narrowed(smallest[name], space.domains[name], use) for name in kept}

    def fit(config: MethodConfig) -> MethodConfig:
        smaller = _ever_smaller(config, smallest[config.name], narrowed[config.name])
        return next(one for one in smaller if use(one) <= 1)

    reasons = [
        f"{name} is left out: its smallest configuration has {_sizes(cost(one))}, beyond {limits.sizes()}"
        for name, one in smallest.items()
        if name not in kept
    ] + [
        f"a default of {one.name} has {_sizes(cost(one))}, beyond the limit: a smaller one takes its place"
        for one in defaults(space.only(kept))
        if use(one) > 1
    ]
    fitted = Space(space.only(kept).methods, {**space.domains, **narrowed})
    return Fitting(fitted, fit, tuple(reasons), limits, cost)


def _sizes(cost: Cost | None) -> str:
    assert cost is not None, "what is not known is never beyond a limit"
    return f"{cost.trainable_parameters:,} parameters and {cost.stored_bytes:,} bytes"


def smallest_of(
    method: type[MethodConfig], allowed: Mapping[str, Domain], use: Callable[[MethodConfig], float]
) -> MethodConfig:
    """The smallest configuration of a method: field by field, until nothing gets smaller.

    It is the smallest of all where no field grows a module only when another is small, as in all of ours.
    """
    ends = {name: _ends(domain) for name, domain in allowed.items()}
    best = method.from_values({name: values[0] for name, values in ends.items()})
    while True:
        before = use(best)
        for name, values in ends.items():
            best = min((_with(best, {name: value}) for value in values), key=use)
        if use(best) >= before:
            return best


def _with(config: MethodConfig, values: Mapping[str, Value]) -> MethodConfig:
    return config.from_values({**asdict(config), **values})


def _ends(domain: Domain) -> tuple[Value, ...]:
    """The values among which that of the smallest module is; real numbers change no size."""
    if isinstance(domain, Choice):
        return domain.options
    return (domain.low, domain.high) if isinstance(domain, Int) else (domain.low,)


def _narrowed(
    smallest: MethodConfig, allowed: Mapping[str, Domain], use: Callable[[MethodConfig], float]
) -> dict[str, Domain]:
    """The domains without those values that are beyond the limits even where all else is smallest."""

    def fits(name: str, value: Value) -> bool:
        return use(_with(smallest, {name: value})) <= 1

    return {name: _fitting_part(domain, partial(fits, name)) for name, domain in allowed.items()}


def _fitting_part(domain: Domain, fits: Callable[[Value], bool]) -> Domain:
    if isinstance(domain, Choice):
        return Choice(*filter(fits, domain.options))
    if not isinstance(domain, Int) or fits(domain.high):
        return domain
    low, high = domain.low, domain.high  # low is within the limits, high is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return replace(domain, high=low)


def _ever_smaller(
    config: MethodConfig, smallest: MethodConfig, allowed: Mapping[str, Domain]
) -> Iterator[MethodConfig]:
    """The configuration; then with its whole numbers halved again and again; then nearer the smallest."""
    yield config
    whole = {name: domain.low for name, domain in allowed.items() if isinstance(domain, Int)}
    while any(getattr(config, name) > low for name, low in whole.items()):
        config = _with(config, {n: max(low, getattr(config, n) // 2) for n, low in whole.items()})
        yield config
    for name, domain in allowed.items():
        if not isinstance(domain, Float):
            config = _with(config, {name: getattr(smallest, name)})
            yield config
