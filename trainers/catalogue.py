"""The tables of docs/methods.md, made from the methods themselves: `python -m trainers.catalogue`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, T5EncoderModel

import trainers.methods  # noqa: F401  (registers the methods)
from trainers.cost import cost_of
from trainers.domains import Choice, Domain
from trainers.families import FAMILIES
from trainers.method import METHODS, MethodConfig, conditions_of, domains
from trainers.sites import Site, sites_of

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
START = "<!-- written by python -m trainers.catalogue -->"
END = "<!-- end of what is written by python -m trainers.catalogue -->"
BERT_BASE_WIDTH = 768
SEARCHED = {"always": "by default", "named": "when named", "never": "baseline"}
Rows = Iterable[Sequence[str]]


def page(text: str) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: if it lacks the two comments between which the tables stand.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the page has no tables to renew; put them between {START} and {END}")
    return f"{before}{START}\n\n{tables()}\n{END}{after}"


def tables() -> str:
    """All tables as Markdown, each under its heading."""
    methods = sorted(METHODS.values(), key=lambda method: list(SEARCHED).index(method.searched))
    base = sites("bert")
    parts = [
        ("Methods", _table(METHOD_HEADINGS, (_method(method, base) for method in methods))),
        ("Sizes of their forms", _table(FORM_HEADINGS, _forms(methods, base))),
        ("Fields", _table(FIELD_HEADINGS, _fields(methods))),
        ("What runs where", _table(["family", *(m.name for m in methods)], _families(methods))),
    ]
    return "\n".join(f"### {heading}\n\n{table}" for heading, table in parts)


def sites(family: str) -> tuple[Site, ...]:
    """The sites of a family's default configuration; of all but BERT the first two layers only."""
    config = AutoConfig.for_model(family, **({} if family == "bert" else {"num_hidden_layers": 2}))
    with torch.device("meta"):
        build: Any = T5EncoderModel if family == "t5" else AutoModel.from_config
        return sites_of(build(config), FAMILIES[family], int(config.hidden_size))


def _table(headings: Sequence[str], rows: Rows) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in lines)


# ------------------------------------------------------------------------------------- methods

METHOD_HEADINGS = (
    "method",
    "computes",
    "reference (arXiv)",
    "where it inserts",
    "parameters, BERT-base",
    "mergeable",
    "peft's class",
    "searched",
)


def _method(method: type[MethodConfig], base: Sequence[Site]) -> Sequence[str]:
    return (
        f"`{method.name}`",
        f"`{method.formula}`",
        method.reference,
        _places(method(), base),
        _count(method(), base),
        "yes" if method.mergeable else "no",
        f"`{method.peft_class}`" if method.peft_class else "-",
        SEARCHED[method.searched],
    )


def _places(config: MethodConfig, base: Sequence[Site]) -> str:
    """Where a configuration changes the model: roles, by the way in which changes reach them."""
    roles: dict[str, dict[str, None]] = {}
    for site, _ in config.placed(base):
        roles.setdefault(site.insertion, {})[f"`{site.role}`"] = None
    return "; ".join(f"{way}: {', '.join(found)}" for way, found in roles.items()) or "-"


def _count(config: MethodConfig, base: Sequence[Site]) -> str:
    cost = cost_of(config, base, 2, BERT_BASE_WIDTH)
    after, during = f"{cost.deployed_parameters:,}", f"{cost.module_parameters:,}"
    return after if after == during else f"{after} ({during} while training)"


FORM_HEADINGS = ("method", "with", "parameters, BERT-base")


def _forms(methods: Sequence[type[MethodConfig]], base: Sequence[Site]) -> Iterator[Sequence[str]]:
    """Other sizes than the default's, by one choice that is not a number and not the layers."""
    for method in methods:
        usual = _count(method(), base)
        for name, domain in domains(method).items():
            for option in _words(domain) if name != "layers" else ():
                count = _count(method.from_values({name: option}), base)
                if count != usual:
                    yield f"`{method.name}`", f"`{name}` {option}", count


def _words(domain: Domain) -> list[bool | str]:
    options = domain.options if isinstance(domain, Choice) else ()
    return [option for option in options if isinstance(option, bool | str)]


# -------------------------------------------------------------------------------------- fields

FIELD_HEADINGS = ("method", "field", "values", "default", "counts only")


def _fields(methods: Sequence[type[MethodConfig]]) -> Iterator[Sequence[str]]:
    """The fields of every method, then what each method has of its own."""
    every: type[MethodConfig] = MethodConfig  # type: ignore[type-abstract]
    common = {name: (domain, _default(every, name)) for name, domain in domains(every).items()}
    for name, (domain, default) in common.items():
        if name == "learning_rate":
            continue  # every method has its own range
        yield "all", f"`{name}`", str(domain), str(default), ""
    for method in methods:
        for name, domain in domains(method).items():
            default = _default(method, name)
            if (domain, default) != common.get(name):
                yield f"`{method.name}`", f"`{name}`", str(domain), str(default), _condition(method, name)


def _default(method: type[MethodConfig], name: str) -> Any:
    return next(field.default for field in dataclasses.fields(method) if field.name == name)


def _condition(method: type[MethodConfig], name: str) -> str:
    """When a field counts: the values of other fields, one at a time, for which it does."""
    condition = conditions_of(method).get(name)
    if condition is None:
        return ""
    usual = dataclasses.asdict(method())
    for other, domain in domains(method).items():
        options = _words(domain)
        held = [str(option) for option in options if condition.holds({**usual, other: option})]
        if 0 < len(held) < len(options):
            return f"with `{other}` {', '.join(held)}"
    return "sometimes"


# ----------------------------------------------------------------------------------- backbones


def _families(methods: Sequence[type[MethodConfig]]) -> Iterator[Sequence[str]]:
    """One row for all families on which the same methods run."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for family in FAMILIES:
        there = sites(family)
        alike.setdefault(tuple(_runs(method, there) for method in methods), []).append(family)
    for runs, families in alike.items():
        yield ", ".join(families), *runs


def _runs(method: type[MethodConfig], there: Sequence[Site]) -> str:
    missing = method.missing(there)
    if method.searched != "never" and missing:
        return f"no: lacks {missing}"
    lost = {name: _lost(domains(method)[name], allowed) for name, allowed in method.options_on(there).items()}
    words = [f"`{name}` {gone}" for name, gone in lost.items() if gone]
    return f"yes, without {'; '.join(words)}" if words else "yes"


def _lost(usual: Domain, allowed: Choice) -> str:
    options = usual.options if isinstance(usual, Choice) else ()
    return ", ".join(str(option) for option in options if option not in allowed.options)


def main() -> None:
    """Renew the tables of the page."""
    PAGE.write_text(page(PAGE.read_text()))


if __name__ == "__main__":
    main()
