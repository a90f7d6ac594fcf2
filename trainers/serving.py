"""Several exported modules on one resident backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.backbone import Backbone
from trainers.backbone import load as load_backbone
from trainers.errors import ExportError
from trainers.export import Exported, load_export, native_manifest
from trainers.head import MEAN
from trainers.kinds import single
from trainers.predictions import Logits, said
from trainers.routing import Router
from trainers.splits import Split
from trainers.stack import Stack


@dataclass(frozen=True)
class Asked:
    """Texts for one of the modules."""

    module: str
    texts: Sequence[Any]
    pairs: Sequence[str] | None = None


class Modules:
    """Exported modules by name, all on one backbone.

    Those that compute alike (of one method: equal `stack_key`) are candidates of one stack, in which each row
    passes through its own module only; so rows for different modules share a forward pass. Modules
    that share with none take a pass each.
    """

    def __init__(self, modules: Mapping[str, Exported]) -> None:
        self._modules = dict(modules)
        self._groups = [(names, self._router(names)) for names in _groups(modules)]

    def _router(self, names: Sequence[str]) -> Router | None:
        stacks = [self._modules[name].stack for name in names]
        if not all(isinstance(stack, Stack) for stack in stacks):
            return None  # peft's own code computes one module at a time
        candidates = [stack.candidates[0] for stack in stacks]
        states = [stack.states()[0] for stack in stacks]
        return Router(Stack(stacks[0].backbone, candidates, max(s.classes for s in stacks), states))

    def __getitem__(self, name: str) -> Exported:
        """A module by its name.

        Raises:
            ExportError: if there is none, naming those that there are.
        """
        if name not in self._modules:
            raise ExportError(f"there is no module {name!r}; modules: {', '.join(self._modules)}")
        return self._modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    @property
    def backbone(self) -> Backbone:
        """The one that all are on."""
        return next(iter(self._modules.values())).stack.backbone

    def logits(self, splits: Mapping[str, Split]) -> dict[str, Logits]:
        """Logits of each module for its own rows, in fp32; modules that are not named do not compute."""
        found: dict[str, Logits] = {}
        for names, router in self._groups:
            asked = [name for name in names if name in splits and len(splits[name])]
            if router is None:
                found |= {name: self._modules[name].logits(splits[name]) for name in asked}
            elif asked:
                nothing = self._modules[asked[0]].tokens(splits[asked[0]]).take(np.zeros(0, np.int64))
                tokens = [
                    self._modules[name].tokens(splits[name]) if name in asked else nothing for name in names
                ]
                given = zip(names, router.logits(tokens), strict=True)
                found |= {n: one[:, : self._modules[n].stack.classes] for n, one in given if n in asked}
        return found

    def predict(self, asked: Sequence[Asked]) -> list[list[dict[str, Any]]]:
        """What each module says of its texts, in the order that was asked; see `Exported.predict`.

        Raises:
            ExportError: if a module is not there, or the texts are not of its kind; nothing is computed then.
        """
        for one in asked:
            self[one.module].check_pairs(one.pairs)
        splits = {name: self._joined(name, [one for one in asked if one.module == name]) for name in self}
        logits = self.logits({name: split for name, split in splits.items() if len(split)})
        rows = {
            name: said(self[name].kind, self[name].labels, splits[name], given)
            for name, given in logits.items()
        }
        return [[next(rows[one.module]) for _ in one.texts] for one in asked]

    def _joined(self, name: str, asked: Sequence[Asked]) -> Split:
        texts = [text for one in asked for text in one.texts]
        pairs = [text for one in asked for text in one.pairs or ()]
        return self[name].unlabelled(texts, pairs if any(one.pairs is not None for one in asked) else None)


def _groups(modules: Mapping[str, Exported]) -> list[list[str]]:
    """Names of the modules that can share a stack."""
    groups: dict[Any, list[str]] = {}
    for name, module in modules.items():
        (candidate,) = module.stack.candidates
        config = candidate.config
        alone = config.alone or not isinstance(module.stack, Stack)
        words = single(module.kind) == "token-classification"
        key = (config.stack_key, module.manifest.get("head", MEAN), words, name if alone else None)
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def load_exports(
    folders: Sequence[Path],
    backbone: Backbone | None = None,
    *,
    device: str = "auto",
    reference: str | None = None,
) -> Modules:
    """Load exports of one backbone, each under the name of its folder; see `load_export`.

    Raises:
        ExportError: as `load_export`, and if two folders have one name or their backbones differ.
        BackboneError: if the backbone cannot be found.
    """
    manifests = {folder: native_manifest(folder) for folder in folders}
    names = [folder.absolute().name for folder in folders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ExportError(f"two folders are called {twice[0]!r}, and modules go by that name; rename one")
    first = folders[0]
    known = manifests[first]["backbone"]
    for folder in folders[1:]:
        other = manifests[folder]["backbone"]
        if (other["weight_hash"], _held(other)) != (known["weight_hash"], _held(known)):
            raise ExportError(
                f"{str(folder)!r} was trained on other weights ({other['reference']}, {_held(other)}) than "
                f"{str(first)!r} ({known['reference']}, {_held(known)}); serve those of one backbone together"
            )
    if backbone is None:
        backbone = load_backbone(reference or known["reference"], dtype=_held(known), device=device)
    loaded = {name: load_export(folder, backbone) for name, folder in zip(names, folders, strict=True)}
    return Modules(loaded)


def _held(backbone: Mapping[str, Any]) -> str:
    return str(backbone.get("precision", "fp32"))
