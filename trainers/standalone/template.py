"""What the predict.py of a standalone export is made of; `trainers/standalone/source.py` puts it together.

Lines from `# <name>` to `# </name>` go into the file where the export has that feature, those from
`# <!name>` to `# </!name>` where it has not. Private methods and functions that are not called then are left
out, and what is imported from `trainers` is written into the file, too.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, AutoModel, AutoTokenizer, T5EncoderModel
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from trainers.attention import Prefix, _mask, attention, leave_prefix
from trainers.eager_attention import _deberta_v2, _mpnet
from trainers.head import last_token, mean_of_tokens
from trainers.rows import Rows

ATTENTION = "attention with a prefix"
"""Under this name transformers finds the attention function below."""
BATCH_SIZE = 64
"""Rows that pass through the model together."""
DELTAS: dict[str, Any] = {}
"""What computes the changes, by the names in module.json."""


class Predictor:
    """A pre-trained transformer with a trained module in it, and the head that reads it."""

    def __init__(self, folder: Path, device: str) -> None:
        self.facts = json.loads((folder / "module.json").read_text(encoding="utf-8"))
        self.tensors = load_file(folder / "module.safetensors", device=device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        options: dict[str, Any] = {"dtype": torch.float32}
        # <attention>
        AttentionInterface.register(ATTENTION, attention)
        AttentionMaskInterface.register(ATTENTION, _mask)
        options["attn_implementation"] = ATTENTION
        # </attention>
        # <eager>
        options["attn_implementation"] = "eager"
        # </eager>
        # <t5>
        self.model: Any = T5EncoderModel.from_pretrained(folder, **options)
        # </t5>
        # <!t5>
        self.model = AutoModel.from_pretrained(folder, **options)
        # </!t5>
        self.model.to(device).eval()
        # <mpnet>
        for module in self.model.modules():
            if isinstance(module, MPNetSelfAttention):
                module.forward = partial(_mpnet, module)  # type: ignore[method-assign]
        # </mpnet>
        # <deberta-v2>
        for module in self.model.modules():
            if isinstance(module, DisentangledSelfAttention):
                module.forward = partial(_deberta_v2, module)  # type: ignore[method-assign]
        # </deberta-v2>
        # <rows>
        self.rows = Rows(mask=torch.ones(1, 1, dtype=torch.bool))
        # </rows>
        # <source>
        self.inputs: dict[str, Tensor] = {}
        # </source>
        # <sites>
        for site in self.facts["sites"]:
            self._attach(site)
        # </sites>

    def predict(self, texts: Sequence[Any], pairs: Sequence[str] | None = None) -> list[dict[str, Any]]:
        # <classification>
        """The label of each text, and the probability of every label."""
        # </classification>
        # <multi-label>
        """The labels of each text, and the probability of every label by itself."""
        # </multi-label>
        # <regression>
        """The value of each text."""
        # </regression>
        # <words>
        """The tag of every word; each text is a list of words."""
        # </words>
        logits = self.logits(texts, pairs)
        # <regression>
        return [{"value": value} for value in logits[:, 0].tolist()]
        # </regression>
        # <words>
        tags = iter([self.facts["labels"][tag] for tag in logits.argmax(-1).tolist()])
        return [{"words": list(words), "tags": [next(tags) for _ in words]} for words in texts]
        # </words>
        # <multi-label>
        named = [dict(zip(self.facts["labels"], row, strict=True)) for row in logits.sigmoid().tolist()]
        return [{"labels": [name for name in row if row[name] > 0.5], "probabilities": row} for row in named]
        # </multi-label>
        # <classification>
        named = [dict(zip(self.facts["labels"], row, strict=True)) for row in logits.softmax(-1).tolist()]
        return [{"label": max(row, key=row.__getitem__), "probabilities": row} for row in named]
        # </classification>

    @torch.no_grad()
    def logits(self, texts: Sequence[Any], pairs: Sequence[str] | None = None) -> Tensor:
        # <words>
        """`[words, tags]`: what the head gives for the words of all texts, in order."""
        # </words>
        # <!words>
        """`[texts, outputs]`: what the head gives for each text, in order."""
        # </!words>
        # <pairs>
        if pairs is None:
            raise ValueError("this module was trained on text pairs; give the second texts as pairs")
        # </pairs>
        # <!pairs>
        if pairs is not None:
            raise ValueError("this module was trained on single texts; leave pairs out")
        # </!pairs>
        # <words>
        if any(isinstance(words, str) for words in texts):
            raise ValueError("this module tags words; give each text as a list of words")
        rows = self._rows_of_words(texts)
        # </words>
        # <head>
        rows = self._rows(texts, pairs)
        # </head>
        # <head+tail>
        rows = self._rows_of_both_ends(texts, pairs)
        # </head+tail>
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))  # the least padding
        found = {}
        for begin in range(0, len(rows), BATCH_SIZE):
            part = order[begin : begin + BATCH_SIZE]
            given = self.forward(**self._batch([rows[i] for i in part])).cpu()
            found.update(zip(part, given, strict=True))
        # <words>
        each = [found[i][row["places"]] for i, row in enumerate(rows)]
        # </words>
        # <!words>
        each = [found[i].unsqueeze(0) for i in range(len(rows))]
        # </!words>
        return torch.cat([torch.empty(0, len(self.tensors["head.bias"])), *each])

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        # <words>
        """What the head gives for each token of a batch."""
        # </words>
        # <!words>
        """What the head gives for each row of a batch."""
        # </!words>
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        # <segments>
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        # </segments>
        # <prompt>
        inputs = self._behind_the_prompt(inputs)
        # </prompt>
        # <positions>
        counted = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        inputs["position_ids"] = counted + self.facts["first_position"]
        # </positions>
        # <rows>
        self.rows = Rows(mask=inputs["attention_mask"].bool())
        # </rows>
        hidden = self.model(**inputs).last_hidden_state
        # <prompt>
        hidden = hidden[:, -input_ids.shape[1] :]
        # </prompt>
        # <mean>
        hidden = mean_of_tokens(hidden, attention_mask)
        # </mean>
        # <last>
        hidden = last_token(hidden, attention_mask)
        # </last>
        head: Tensor = self.tensors["head.weight"]
        return hidden @ head.mT + self.tensors["head.bias"]

    def _batch(self, rows: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
        """The rows side by side, padded on the right."""
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(values: list[list[int]], padding: int) -> Tensor:
            filled = [row + [padding] * (longest - len(row)) for row in values]
            return torch.tensor(filled, device=self.tensors["head.bias"].device)

        return {
            "input_ids": padded([row["input_ids"] for row in rows], self.facts["padding"]),
            "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0),
            # <segments>
            "token_type_ids": padded([row["token_type_ids"] for row in rows], 0),
            # </segments>
        }

    def _rows(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[dict[str, list[int]]]:
        """Tokens of each text; of a long one the first."""
        if not texts:
            return []
        # <bare pairs>
        pairs = ["\n" + text for text in pairs or ()]  # the tokenizer puts nothing between two texts
        # </bare pairs>
        encoded = self.tokenizer(
            list(texts),
            # <pairs>
            list(pairs or ()),
            # </pairs>
            truncation=True,
            max_length=self.facts["max_length"],
            # <segments>
            return_token_type_ids=True,
            # </segments>
        )
        # <unframed>
        encoded["input_ids"] = [ids or [self.facts["filler"]] for ids in encoded["input_ids"]]
        # </unframed>
        names = [
            "input_ids",
            # <segments>
            "token_type_ids",
            # </segments>
        ]
        return [{name: encoded[name][i] for name in names} for i in range(len(texts))]

    def _rows_of_both_ends(
        self, texts: Sequence[str], pairs: Sequence[str] | None
    ) -> list[dict[str, list[int]]]:
        """Tokens of each text; of a long one the first and the last, half of each."""
        if not texts:
            return []
        columns = [
            list(texts),
            # <bare pairs>
            ["\n" + text for text in pairs or ()],  # the tokenizer puts nothing between two texts
            # </bare pairs>
            # <framed pairs>
            list(pairs or ()),
            # </framed pairs>
        ]
        encoded = [
            self.tokenizer(column, add_special_tokens=False, verbose=False)["input_ids"] for column in columns
        ]
        return [self._cut(row) for row in zip(*encoded, strict=True)]

    def _cut(self, texts: Sequence[list[int]]) -> dict[str, list[int]]:
        """A row of special tokens and what is kept of each text."""
        frame = self.facts["frame"]
        room = max(0, self.facts["max_length"] - sum(map(len, frame["ids"])))
        # <pairs>
        kept = _kept(len(texts[0]), len(texts[1]), room)
        # </pairs>
        # <!pairs>
        kept = (min(len(texts[0]), room),)
        # </!pairs>
        ids, types = list(frame["ids"][0]), list(frame["types"][0])
        for i, (text, count) in enumerate(zip(texts, kept, strict=True)):
            tail = count // 2
            ids += text[: count - tail] + text[len(text) - tail :] + frame["ids"][i + 1]
            types += [frame["text_types"][i]] * count + frame["types"][i + 1]
        return {"input_ids": ids or [self.facts["filler"]], "token_type_ids": types or [0]}

    def _rows_of_words(self, texts: Sequence[Sequence[str]]) -> list[dict[str, list[int]]]:
        """Tokens of each text, and where the first token of each word is; a long text is several rows."""
        rows = []
        for words in texts:
            encoded = self.tokenizer(
                " ".join(words),
                truncation=True,
                max_length=self.facts["max_length"],
                return_offsets_mapping=True,
                return_overflowing_tokens=True,
                # <segments>
                return_token_type_ids=True,
                # </segments>
            )
            ends = [end for part in encoded["offset_mapping"] for _, end in part]
            first, before = _first_tokens(words, ends), 0
            # <segments>
            segments = iter(encoded["token_type_ids"])
            # </segments>
            for ids in encoded["input_ids"]:
                places = [place - before for place in first if before <= place < before + len(ids)]
                before += len(ids)
                row = {"input_ids": ids, "places": places}
                # <segments>
                row["token_type_ids"] = next(segments)
                # </segments>
                if places:  # else nothing but the rest of a long word
                    rows.append(row)
        return rows

    def _behind_the_prompt(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs with the vectors in front of their embedded tokens."""
        place = self.facts["prompt"]
        vectors = (
            DELTAS[place["delta"]].vectors(self._given(place, {})).flip(1)
        )  # the first is next to the tokens
        embedded = self.model.get_input_embeddings()(inputs["input_ids"])
        slots, count = vectors.expand(len(embedded), -1, -1), vectors.shape[1]
        return {
            "inputs_embeds": torch.cat([slots, embedded], 1),
            "attention_mask": pad(inputs["attention_mask"], (count, 0), value=1),
            # <segments>
            "token_type_ids": pad(inputs["token_type_ids"], (count, 0)),
            # </segments>
        }

    def _given(self, place: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of one place by their short names, `[1, ...]`."""
        tensors = {short: self.tensors[name].unsqueeze(0) for short, name in place["tensors"].items()}
        # <frozen>
        if place["frozen"]:
            module: Any = self.model.get_submodule(site["module"])
            weight, bias = module.weight.detach(), getattr(module, "bias", None)
            # <transposed>
            weight = weight.mT
            # </transposed>
            # <part>
            if site["part"]:
                begin, end = site["part"]
                weight, bias = weight[begin:end], None if bias is None else bias[begin:end]
            # </part>
            tensors.update(DELTAS[place["delta"]].frozen(weight, bias))
        # </frozen>
        return tensors

    def _attach(self, site: Mapping[str, Any]) -> None:
        """Let a module of the model give or get what the trained module makes of it."""
        module = self.model.get_submodule(site["module"])
        # <changes>
        places = [(place, self._given(place, site)) for place in site["places"]]
        # </changes>
        # <source>
        if site["source"]:
            source = self.model.get_submodule(site["source"])
            source.register_forward_pre_hook(self._keep_input(site["source"]))
        # </source>
        # <output>
        if site["at"] == "output":
            module.register_forward_hook(self._at_output(site, places))
        # </output>
        # <input>
        if site["at"] == "input":
            module.register_forward_pre_hook(self._at_input(places))
        # </input>
        # <norm input>
        if site["at"] == "norm input":
            module.register_forward_pre_hook(self._before_norm(places))
        # </norm input>
        # <prefix>
        if site["at"] == "attention":
            (place,) = site["places"]
            options = {"with_kwargs": True}
            module.register_forward_pre_hook(self._in_attention(place, self._given(place, site)), **options)
        # </prefix>

    def _changed(self, places: Sequence[Any], x: Tensor, y: Tensor) -> Tensor:
        """`y` with the changes of all places added, which see its rows as `[1, rows, width]`."""
        rows_x, rows_y = (each.reshape(1, -1, each.shape[-1]) for each in (x, y))
        total = rows_y
        for place, tensors in places:
            # <relative>
            if place["per_example"] and y.shape[:-1] != self.rows.mask.shape:
                continue  # DeBERTa projects its relative positions, too, which belong to no example
            # </relative>
            total = total + DELTAS[place["delta"]].change(tensors, rows_x, rows_y, self.rows)
        return total.reshape(y.shape)

    def _keep_input(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.inputs[name] = inputs[0]

        return hook

    def _at_output(self, site: Mapping[str, Any], places: Sequence[Any]) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            y = output[0] if isinstance(output, tuple) else output
            x = inputs[0] if inputs else y
            # <source>
            if site["source"]:
                x = self.inputs.pop(site["source"])
            # </source>
            # <part>
            begin, end = site["part"] or (0, y.shape[-1])
            part = self._changed(places, x, y[..., begin:end])
            y = torch.cat([y[..., :begin], part, y[..., end:]], -1)
            # </part>
            # <!part>
            y = self._changed(places, x, y)
            # </!part>
            return (y, *output[1:]) if isinstance(output, tuple) else y

        return hook

    def _at_input(self, places: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self._changed(places, inputs[0], inputs[0]), *inputs[1:])

        return hook

    def _before_norm(self, places: Sequence[Any]) -> Callable[..., tuple[Tensor] | None]:
        inside = False

        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
            nonlocal inside
            if inside:
                return None
            inside = True  # the call below runs this hook again
            try:
                normalised = module(inputs[0])
            finally:
                inside = False
            return (self._changed(places, normalised, inputs[0]),)

        return hook

    def _in_attention(self, place: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            x = inputs[0] if inputs else options["hidden_states"]
            rows = x.reshape(1, -1, x.shape[-1])
            keys, values = DELTAS[place["delta"]].keys_values(tensors, rows, self.rows)
            leave_prefix(module, Prefix(keys, values, torch.ones(1, keys.shape[2], device=keys.device)))

        return hook


def _first_tokens(words: Sequence[str], ends: Sequence[int]) -> list[int]:
    """The first token that ends after the begin of each word, where words stand a space apart.

    `ends` are the tokens' last characters; special tokens end at 0.
    """
    rising = list(accumulate(ends, max))
    begins = accumulate((len(word) + 1 for word in words[:-1]), initial=0)
    return [min(bisect_right(rising, begin), len(ends) - 1) for begin, _ in zip(begins, words, strict=False)]


def _kept(first: int, second: int, room: int) -> tuple[int, ...]:
    """How many tokens each text of a pair keeps: the longer one is cut first."""
    half, most = room // 2, room - room // 2
    # <slow>
    first_gets_more = True  # as this tokenizer itself does
    # </slow>
    # <!slow>
    first_gets_more = first > second
    # </!slow>
    kept_first = max(most if first_gets_more else half, room - second)
    kept_second = max(half if first_gets_more else most, room - first)
    return min(first, kept_first), min(second, kept_second)


def load(folder: str | Path = Path(__file__).parent, device: str = "cpu") -> Predictor:
    """The module in a folder, ready to predict."""
    return Predictor(Path(folder), device)
