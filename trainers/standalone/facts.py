"""What the predict.py of a standalone export reads: module.json, and which features the file needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainers.eager_attention import WRAPPED
from trainers.export import Exported
from trainers.families import FAMILIES
from trainers.kinds import single
from trainers.layout import Place, by_site, full_name
from trainers.sites import Insertion, Site, is_transposed
from trainers.special_tokens import filler, frame_of
from trainers.stack import Stack
from trainers.trained import Delta, PromptDelta, Trained, WeightDelta
from trainers.truncation import HEAD_AND_TAIL

Json = dict[str, Any]


@dataclass
class Facts:
    """An export in the words of the file that predicts."""

    export: Exported
    stack: Stack
    features: set[str] = field(default_factory=set)
    """Of the template (`trainers/standalone/template.py`)."""
    deltas: dict[str, Trained] = field(default_factory=dict)
    """What is computed at the sites, by the names in module.json."""

    def json(self) -> Json:
        """The content of module.json; fills `features` and `deltas`."""
        manifest, backbone = self.export.manifest, self.stack.backbone
        found: Json = {
            "method": manifest["method"],
            "config": manifest["config"],
            "kind": self.export.kind,
            "labels": list(self.export.labels),
            "pairs": manifest["task"]["columns"]["text_pair"] is not None,
            "max_length": manifest["max_length"],
            "padding": backbone.pad_token_id,
        }
        return found | self._rows(found) | self._model() | self._sites()

    def _rows(self, known: Mapping[str, Any]) -> Json:
        """How texts become tokens, and what is said of their logits."""
        tokenizer = self.stack.backbone.tokenizer
        if "token_type_ids" in tokenizer.model_input_names:
            self.features.add("segments")
        if self.export.reads_words:
            self.features.add("words")
            return {}
        self.features.add(single(self.export.kind))
        frame = frame_of(tokenizer, 2 if known["pairs"] else 1)
        if known["pairs"]:
            self.features |= {"pairs", "framed pairs" if frame.ids[1] else "bare pairs"}
        if not tokenizer.is_fast:
            self.features.add("slow")
        if self.export.manifest.get("truncation") == HEAD_AND_TAIL:
            self.features.add("head+tail")
            parts = {"ids": frame.ids, "types": frame.types, "text_types": frame.text_types}
            return {"frame": parts, "filler": filler(tokenizer)}
        self.features.add("head")
        if frame.count:
            return {}
        self.features.add("unframed")
        return {"filler": filler(tokenizer)}

    def _model(self) -> Json:
        """How the model is called, and what heads read of it."""
        backbone, shift = self.stack.backbone, self.stack.candidates[0].config.position_shift
        if _reads_padding(self.stack) and backbone.model_type not in WRAPPED:
            self.features.add("attention")  # what the model's own gives of padding may differ
        if backbone.model_type == "t5":
            self.features.add("t5")
        if not self.export.reads_words:
            self.features.add("last" if backbone.family.decoder else "mean")
        prompt = any(isinstance(place.delta, PromptDelta) for place in self.stack.places)
        if backbone.family.first_position is None or not (prompt or shift or backbone.family.decoder):
            return {}
        self.features.add("positions")
        return {"first_position": backbone.first_position + shift}

    def _sites(self) -> Json:
        """What is computed where."""
        places = [place for place in self.stack.places if not isinstance(place.delta, WeightDelta)]
        prompts = [place for place in places if isinstance(place.delta, PromptDelta)]
        rest = [place for place in places if place not in prompts]
        found: Json = {}
        if prompts:
            self.features.add("prompt")
            found["prompt"] = self._place(prompts[0])
        if rest:
            self.features |= {"sites", "rows"}
            found["sites"] = [self._site(site, own) for site, own in by_site(rest)]
        return found

    def _site(self, site: Site, places: Sequence[Place]) -> Json:
        found: Json = {"module": site.module, "at": str(site.insertion)}
        if site.insertion is Insertion.ATTENTION:
            self._take_prefixes()
        else:
            self.features |= {"changes", str(site.insertion)}
        if any(place.site.source for place in self.stack.places):
            self.features.add("source")
            found["source"] = site.source
        if any(place.site.start is not None for place in self.stack.places):
            self.features.add("part")
            found["part"] = None if site.start is None else [site.start, site.start + site.d_out]
        return {**found, "places": [self._place(place) for place in places]}

    def _take_prefixes(self) -> None:
        model_type = self.stack.backbone.model_type
        self.features.add("prefix")
        if model_type in WRAPPED:
            self.features |= {"eager", model_type}
        else:
            self.features.add("attention")

    def _place(self, place: Place) -> Json:
        site, delta = place.site, place.delta
        names = {**place.names, **{short: full_name(site, delta, short) for short in delta.constants()}}
        found: Json = {"delta": self._name(delta), "tensors": names}
        if self._reads_weights:
            self.features.add("frozen")
            found["frozen"] = _reads_weights(place)
            if is_transposed(self.stack.backbone.model.get_submodule(site.module)):
                self.features.add("transposed")
        if self.stack.backbone.family == FAMILIES["deberta-v2"]:
            self.features.add("relative")
            found["per_example"] = isinstance(delta, Delta) and delta.per_example
        return found

    @property
    def _reads_weights(self) -> bool:
        return any(_reads_weights(place) for place in self.stack.places)

    def _name(self, delta: Trained) -> str:
        """One name for all deltas that compute alike: their kind, with a number where there are several."""
        for name, other in self.deltas.items():
            if delta == other:
                return name
        count = sum(other.kind == delta.kind for other in self.deltas.values())
        name = f"{delta.kind} {count + 1}" if count else delta.kind
        self.deltas[name] = delta
        return name


def _reads_padding(stack: Stack) -> bool:
    """Whether padding changes the predictions."""
    return stack.candidates[0].config.values().get("pooling") == "all tokens"


def _reads_weights(place: Place) -> bool:
    return bool(place.constants.keys() - place.delta.constants().keys())
