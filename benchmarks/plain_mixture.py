"""UniPELT written module by module into a BERT, as a team would that trains it with `transformers.Trainer`.

Gated LoRA at queries and values, a gated prefix, a gated Pfeiffer adapter: what
`UniPELTConfig(modules="APL")` trains, one candidate, without anything of this project's engine. Gates
are averaged over all tokens, as in the code of the paper's authors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention
from transformers import AutoModel
from transformers.modeling_outputs import SequenceClassifierOutput


class Gate(nn.Module):
    """mean over the tokens of sigmoid(w x + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.normal_(self.linear.weight, 0, 0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        opened: Tensor = torch.sigmoid(self.linear(x)).mean(1, keepdim=True)
        return opened


class GatedLoRA(nn.Module):
    """A linear layer with a low-rank change behind a gate."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.a = nn.Linear(linear.in_features, rank, bias=False)
        self.b = nn.Linear(rank, linear.out_features, bias=False)
        self.gate = Gate(linear.in_features)
        nn.init.kaiming_uniform_(self.a.weight, a=math.sqrt(5))
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.b(self.a(x)) * self.gate(x)  # type: ignore[no-any-return]


class GatedPrefixAttention(nn.Module):
    """BERT's self-attention with trained keys and values in front, behind a gate."""

    def __init__(self, attention: Any, length: int) -> None:
        super().__init__()
        self.heads = attention.num_attention_heads
        self.query, self.key, self.value = attention.query, attention.key, attention.value
        width = attention.all_head_size
        self.keys = nn.Parameter(torch.randn(length, width) * 0.02)
        self.values = nn.Parameter(torch.randn(length, width) * 0.02)
        self.gate = Gate(attention.key.in_features)
        self.dropout = attention.dropout.p

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        x, opened = hidden_states, self.gate(hidden_states)
        keys = torch.cat([self.keys * opened, self.key(x)], 1)
        values = torch.cat([self.values * opened, self.value(x)], 1)
        if attention_mask is not None:
            value = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = pad(attention_mask, (len(self.keys), 0), value=value)
        found = scaled_dot_product_attention(
            self._by_head(self.query(x)),
            self._by_head(keys),
            self._by_head(values),
            attn_mask=attention_mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return found.transpose(1, 2).flatten(2), None

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class GatedAdapterOutput(nn.Module):
    """The end of a BERT layer with a Pfeiffer adapter behind a gate."""

    def __init__(self, output: Any, bottleneck: int) -> None:
        super().__init__()
        self.dense, self.dropout, self.norm = output.dense, output.dropout, output.LayerNorm
        width = output.dense.out_features
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.gate = Gate(width)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, 0, 0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        whole = self.dropout(self.dense(hidden_states)) + input_tensor
        x = self.norm(whole)
        return self.norm(whole + self.up(torch.relu(self.down(x))) * self.gate(x))  # type: ignore[no-any-return]


class PlainUniPELT(nn.Module):
    """A frozen BERT with the three modules in every layer, and a linear head on the mean of the tokens."""

    def __init__(
        self, folder: Path, classes: int, rank: int = 8, length: int = 10, bottleneck: int = 48
    ) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)
        if self.bert.config.model_type != "bert":
            raise ValueError(
                f"the plain mixture is written for the family bert, not {self.bert.config.model_type!r}"
            )
        for layer in self.bert.encoder.layer:
            attention = layer.attention.self
            attention.query = GatedLoRA(attention.query, rank)
            attention.value = GatedLoRA(attention.value, rank)
            layer.attention.self = GatedPrefixAttention(attention, length)
            layer.output = GatedAdapterOutput(layer.output, bottleneck)
        self.head = nn.Linear(self.bert.config.hidden_size, classes)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        found = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        weights = attention_mask.unsqueeze(-1).to(found.last_hidden_state.dtype)
        logits = self.head((found.last_hidden_state * weights).sum(1) / weights.sum(1))
        loss = None if labels is None else cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
