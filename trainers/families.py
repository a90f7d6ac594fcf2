"""Module names of the model families: where roles sit in one transformer layer of transformers 5.23."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

AFTER_PADDING = -1


@dataclass(frozen=True, kw_only=True)
class Family:
    """Module names of one model family, relative to one transformer layer.

    `a|b` means whichever exists; `m[1/3]` the second third of the output of `m`,
    for projections that are fused into one module. A role without a module is left out.
    """

    layers: str
    """Path of the list of layers."""
    outputs: Mapping[str, str]
    """Role -> module whose output is changed."""
    attention: str
    """The module that calls the attention function."""
    ffn: tuple[str, str]
    """The module that reads the input of the feed-forward network, and the one that gives its output."""
    residual_norm: str | None = None
    """Post-LN families: the LayerNorm after the feed-forward network and its residual."""
    outer: Mapping[str, str] = field(default_factory=dict)
    """Role -> module outside the layers, from the root."""
    decoder: bool = False
    """Causal attention: the last token has seen the whole text, so heads read it instead of the mean."""
    first_position: int | None = 0
    """The first token's position; `AFTER_PADDING`: one behind the padding index; None: no such argument."""


_BERT = Family(
    layers="encoder.layer",
    outputs={
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "ffn_in": "intermediate.dense",
        "ffn_out": "output.dense",
        "ffn_norm": "output.LayerNorm",
    },
    attention="attention.self",
    ffn=("intermediate.dense", "output.dense"),
    residual_norm="output.LayerNorm",
    outer={"embedding_norm": "embeddings.LayerNorm", "embedding_projection": "embeddings_project"},
)
_ROBERTA = replace(_BERT, first_position=AFTER_PADDING)
_DISTILBERT = Family(
    layers="transformer.layer",
    outputs={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "ffn_in": "ffn.lin1",
        "ffn_out": "ffn.lin2",
        "ffn_norm": "output_layer_norm",
    },
    attention="attention",
    ffn=("ffn.lin1", "ffn.lin2"),
    residual_norm="output_layer_norm",
    outer={"embedding_norm": "embeddings.LayerNorm"},
)
# ALBERT runs one layer many times: a change of the shared layer acts in every run.
_ALBERT = Family(
    layers="encoder.albert_layer_groups",
    outputs={
        "query": "albert_layers.0.attention.query",
        "key": "albert_layers.0.attention.key",
        "value": "albert_layers.0.attention.value",
        "attention_output": "albert_layers.0.attention.dense",
        "attention_norm": "albert_layers.0.attention.LayerNorm",
        "ffn_in": "albert_layers.0.ffn",
        "ffn_out": "albert_layers.0.ffn_output",
        "ffn_norm": "albert_layers.0.full_layer_layer_norm",
    },
    attention="albert_layers.0.attention",
    ffn=("albert_layers.0.ffn", "albert_layers.0.ffn_output"),
    residual_norm="albert_layers.0.full_layer_layer_norm",
    outer={
        "embedding_norm": "embeddings.LayerNorm",
        "embedding_projection": "encoder.embedding_hidden_mapping_in",
    },
)
_MPNET = replace(
    _BERT,
    outputs={
        **_BERT.outputs,
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "attention_output": "attention.attn.o",
        "attention_norm": "attention.LayerNorm",
    },
    attention="attention.attn",
    first_position=2,  # its padding index is 1 whatever the configuration says
)
_DEBERTA = replace(
    _BERT,
    outputs={
        **_BERT.outputs,
        "query": "attention.self.query_proj",
        "key": "attention.self.key_proj",
        "value": "attention.self.value_proj",
    },
)
_MODERNBERT = Family(
    layers="layers",
    outputs={
        "query": "attn.Wqkv[0/3]",
        "key": "attn.Wqkv[1/3]",
        "value": "attn.Wqkv[2/3]",
        "attention_output": "attn.Wo",
        "attention_norm": "attn_norm",
        "ffn_in": "mlp.Wi",
        "ffn_out": "mlp.Wo",
        "ffn_norm": "mlp_norm",
    },
    attention="attn",
    ffn=("mlp.Wi", "mlp.Wo"),
    outer={"embedding_norm": "embeddings.norm", "final_norm": "final_norm"},
)
_GPT2 = Family(
    layers="h",
    outputs={
        "query": "attn.c_attn[0/3]",
        "key": "attn.c_attn[1/3]",
        "value": "attn.c_attn[2/3]",
        "attention_output": "attn.c_proj",
        "attention_norm": "ln_1",
        "ffn_in": "mlp.c_fc",
        "ffn_out": "mlp.c_proj",
        "ffn_norm": "ln_2",
    },
    attention="attn",
    ffn=("mlp.c_fc", "mlp.c_proj"),
    outer={"final_norm": "ln_f"},
    decoder=True,
)
_OPT = Family(
    layers="decoder.layers",
    outputs={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "attention_output": "self_attn.out_proj",
        "attention_norm": "self_attn_layer_norm",
        "ffn_in": "fc1",
        "ffn_out": "fc2",
        "ffn_norm": "final_layer_norm",
    },
    attention="self_attn",
    ffn=("fc1", "fc2"),
    outer={"final_norm": "decoder.final_layer_norm"},
    decoder=True,
)
_LLAMA = Family(
    layers="layers",
    outputs={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "attention_output": "self_attn.o_proj",
        "attention_norm": "input_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_in": "mlp.up_proj",
        "ffn_out": "mlp.down_proj",
        "ffn_norm": "post_attention_layernorm",
    },
    attention="self_attn",
    ffn=("mlp.gate_proj", "mlp.down_proj"),
    outer={"final_norm": "norm"},
    decoder=True,
)
_T5 = Family(
    layers="encoder.block",
    outputs={
        "query": "layer.0.SelfAttention.q",
        "key": "layer.0.SelfAttention.k",
        "value": "layer.0.SelfAttention.v",
        "attention_output": "layer.0.SelfAttention.o",
        "attention_norm": "layer.0.layer_norm",
        "ffn_gate": "layer.1.DenseReluDense.wi_0",
        "ffn_in": "layer.1.DenseReluDense.wi|layer.1.DenseReluDense.wi_1",
        "ffn_out": "layer.1.DenseReluDense.wo",
        "ffn_norm": "layer.1.layer_norm",
    },
    attention="layer.0.SelfAttention",
    ffn=("layer.1.DenseReluDense.wi|layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wo"),
    outer={"final_norm": "encoder.final_layer_norm"},
    first_position=None,
)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
    "albert": _ALBERT,
    "mpnet": _MPNET,
    "deberta-v2": _DEBERTA,
    "modernbert": _MODERNBERT,
    "gpt2": _GPT2,
    "opt": _OPT,
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "mistral": _LLAMA,
    "t5": _T5,
}
"""transformers' `model_type` -> module names. DeBERTa-v3 checkpoints are of type deberta-v2."""
