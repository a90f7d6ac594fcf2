"""A peft model around a frozen backbone, which shares the backbone's tensors and changes none of them."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftModelForFeatureExtraction, PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import Tensor, nn
from torch.nn.functional import pad

from trainers.backbone import Backbone
from trainers.bridge import BridgedConfig
from trainers.method import on_layers

ADALORA_START = 1.5
"""AdaLoRA's first ranks over its last ones, as in the paper (Zhang et al., arXiv 2303.10512)."""

Slot = tuple[dict[str, Any], str, str]
"""Where a module keeps a trained tensor: its parameters, the short name there, the full name."""


class BuiltModel:
    """A peft model with what is known of its tensors.

    It is built on fp32 weights on the CPU, whatever the backbone's device and dtype: the
    same seed gives the same module everywhere. `enter` then brings it to the backbone.
    """

    def __init__(self, config: BridgedConfig, backbone: Backbone, seed: int) -> None:
        twin = _twin(backbone.in_fp32.model)
        self._shared = {id(tensor): name for name, tensor in _tensors(twin)}
        self.inner = _Inner(twin)
        theirs = {id(module) for module in self.inner.modules()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model: PeftModel = PeftModelForFeatureExtraction(self.inner, _peft_config(config, backbone))
        self.model.eval()
        self.own_modules = [module for module in self.model.modules() if id(module) not in theirs]
        self.trained = [name for name, p in self.model.named_parameters() if p.requires_grad]
        self.stored = self._stored(config.kind.decomposes)
        live = self.tensors()
        self.gradient_hooks: list[tuple[str, Callable[[Tensor], Tensor | None]]] = [
            (name, hook) for name in self.trained for hook in (live[name]._backward_hooks or {}).values()
        ]
        """With these OSF keeps its gradients away from what the backbone knows."""
        self._slots = list(self._find_slots())

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return dict(_tensors(self.model))

    def _stored(self, everything: bool) -> list[str]:
        """Names of the tensors that are kept beside the trained ones: those peft itself would store."""
        state = self.model.state_dict()
        return [
            name
            for name, tensor in _tensors(self.model)
            if name not in self.trained and id(tensor) not in self._shared and (everything or name in state)
        ]

    def _find_slots(self) -> Iterator[Slot]:
        live = self.tensors()
        full = {id(live[name]): name for name in self.trained}
        for module in self.model.modules():
            for short, parameter in module._parameters.items():
                if id(parameter) in full:
                    yield module._parameters, short, full[id(parameter)]

    def enter(self, backbone: Backbone) -> None:
        """Use the backbone's own tensors, in its dtype and on its device, instead of those of the twin."""
        theirs = dict(_tensors(backbone.model))
        for module in self.model.modules():
            for own in (module._parameters, module._buffers):
                for name, tensor in own.items():
                    if id(tensor) in self._shared:
                        own[name] = theirs[self._shared[id(tensor)]]  # type: ignore[assignment]
            if "dtype" in module.__dict__:  # AdaMSS remembers it
                module.dtype = backbone.dtype  # type: ignore[assignment]
        self.model.to(backbone.device)

    @contextmanager
    def holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Compute with other tensors in the place of the trained ones."""
        # `torch.func.functional_call` does not put all back where layers share a module (LILY, VBLORA).
        parameters = [slots[short] for slots, short, _ in self._slots]
        for slots, short, full in self._slots:
            slots[short] = tensors[full]
        try:
            yield
        finally:
            for (slots, short, _), parameter in zip(self._slots, parameters, strict=True):
                slots[short] = parameter


class _Inner(nn.Module):
    """The backbone as peft sees it, with a loss of zero, to which AdaLoRA's own code adds its penalty."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self.segments: Tensor | None = None
        """The tokens' type ids, `[batch, tokens]`; peft would drop them where it adds a prompt."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def get_input_embeddings(self) -> nn.Module:
        return _embeddings(self.model)

    def forward(self, *args: Any, **options: Any) -> Any:
        if self.segments is not None:
            given = options.get("input_ids")
            length = (options["inputs_embeds"] if given is None else given).shape[1]
            options["token_type_ids"] = pad(self.segments, (length - self.segments.shape[1], 0))
        outputs = self.model(*args, **options)
        outputs.loss = torch.zeros((), device=self.device)
        return outputs


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _twin(model: nn.Module) -> nn.Module:
    """The same modules once more, around the same tensors; around copies of them where those lie on a GPU."""
    shared: dict[int, Any] = {id(t): t if t.device.type == "cpu" else t.cpu() for _, t in _tensors(model)}
    twin: nn.Module = copy.deepcopy(model, shared)
    return twin


def _embeddings(model: Any) -> nn.Embedding:
    embeddings: nn.Embedding = model.get_input_embeddings()
    return embeddings


def _peft_config(config: BridgedConfig, backbone: Backbone) -> PeftConfig:
    settings = config.settings()
    modules = _modules(config.target_roles, config.layers, backbone)
    if modules:
        settings["target_modules"] = modules
    if config.peft_type == "ADALORA":
        # The number of steps is known later, and is put in then.
        settings |= {"init_r": math.ceil(ADALORA_START * settings["target_r"]), "total_step": 1}
    elif config.peft_type == "IA3":
        settings["feedforward_modules"] = _modules(("ffn_out",), config.layers, backbone)
    elif config.peft_type == "ADAPTION_PROMPT":
        settings["adapter_layers"] = 1 + max(site.layer for site in backbone.sites)
    elif "num_virtual_tokens" in settings:
        # peft finds these in most models' configurations, but not in DistilBERT's.
        sizes: Any = backbone.model.config
        settings |= {"num_attention_heads": sizes.num_attention_heads, "token_dim": sizes.hidden_size}
        if config.peft_type in ("PROMPT_TUNING", "P_TUNING"):  # ELECTRA's embeddings are narrower
            settings["token_dim"] = _embeddings(backbone.model).weight.shape[1]
    kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[config.peft_type]]
    return kind(task_type="FEATURE_EXTRACTION", **settings)


def _modules(roles: Sequence[str], layers: str, backbone: Backbone) -> list[str]:
    """Modules as a user of peft names them, by the end of their path: some types share by that name.

    By their whole path where the end fits other modules, too, such as those of other layers.
    """
    wanted = {site.module for site in on_layers(backbone.sites, layers) if site.role in roles}
    ends = {re.sub(r"^.*\.\d+\.", "", path) for path in wanted}
    named = [path for path, _ in backbone.model.named_modules()]
    fit = {path for path in named if any(path.endswith(f".{end}") for end in ends)}
    return sorted(ends if fit == wanted else wanted)
