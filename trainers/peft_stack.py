"""One candidate that peft's own code computes, with the interface of `Stack`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.bridge import BridgedConfig
from trainers.gates import GateWatch
from trainers.head import head_tensors
from trainers.heads import read_features
from trainers.method import MethodConfig
from trainers.optim import MAX_NORM, clip_per_candidate
from trainers.peft_model import BuiltModel
from trainers.stack import Candidate, State

ADALORA_RISE, ADALORA_FALL = 0.1, 0.5
"""Shares of the steps before AdaLoRA starts to drop ranks, and after it has dropped them all; about those of
the paper's runs on GLUE (Zhang et al., arXiv 2303.10512, appendix)."""


class PeftError(RuntimeError):
    """peft cannot build or run a method on a backbone; the message is shown as it is."""


class PeftStack:
    """A stack of one: a peft model's trained tensors and a head, laid out as one row."""

    def __init__(
        self,
        backbone: Backbone,
        candidates: Sequence[Candidate],
        classes: int,
        states: Sequence[State] | None = None,
    ) -> None:
        """Build the candidate from its seed, or from its state.

        Raises:
            PeftError: if peft cannot build it, or the state does not fit what peft builds.
            ValueError: for several candidates.
        """
        if len(candidates) != 1:
            raise ValueError(f"peft trains one candidate at a time, not {len(candidates)}")
        config, seed = candidates[0].config, candidates[0].seed
        assert isinstance(config, BridgedConfig)
        self.backbone = backbone
        self.candidates = tuple(candidates)
        self.classes = classes
        self.penalty: Tensor | None = None
        """`[1]`, after `logits`: what the loss is raised by, such as AdaLoRA's for skew bases."""
        self._config = config
        self._step = 0
        self._dtype = backbone.dtype if config.kind.native_dtype else torch.float32
        with self._explained():
            self._built = BuiltModel(config, backbone, seed)
            chance = torch.Generator().manual_seed(seed)
            head = backbone.head.initial(classes, backbone.hidden_size, chance)
            live = self._built.tensors()
            first = head | {name: live[name].detach().clone() for name in self._built.trained}
            self.shapes = [{name: tensor.shape for name, tensor in first.items()}]
            if states is not None:
                first = _fitting(states[0], first | {name: live[name] for name in self._built.stored})
                for name in self._built.stored:
                    live[name].data.copy_(first[name])
            self._built.enter(backbone)
        self.parameters = self.pack([first]).to(backbone.device).requires_grad_()

    def __len__(self) -> int:
        return 1

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Name method and family in whatever peft raises; leave out its advice to interactive users."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:  # peft raises many kinds
            reason = str(error).strip().split("\n")[0]
            raise PeftError(
                f"{self._config.name} does not run on a backbone of family {self.backbone.model_type}: "
                f"{type(error).__name__}: {reason}"
            ) from error

    # ------------------------------------------------------------------------ computing

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Nothing to do: the peft model has modules of its own around the backbone's tensors."""
        yield

    @contextmanager
    def watching(self) -> Iterator[GateWatch]:
        """No method of peft has gates to collect."""
        yield GateWatch()

    def logits(self, batch: Batch, *, training: bool = False) -> Float[Tensor, "candidates items classes"]:
        """Logits of the candidate; sets `penalty`.

        `training` lets chance into peft's own modules; the backbone is in evaluation always.
        """
        for module in self._built.own_modules:
            module.training = training
        views = self._views()
        trained = {name: views[name].to(self._dtype) for name in self._built.trained}
        with self._explained(), self._chance(training), self._built.holding(trained):
            self._check_length(batch)
            self._built.inner.segments = batch.token_type_ids
            outputs = self._built.model(**self._inputs(batch))
        self.penalty = outputs.loss.reshape(1)
        hidden = outputs.last_hidden_state[:, -batch.input_ids.shape[1] :]  # without a prompt in front
        features = read_features(self.backbone, hidden, batch)
        tensors = {name: view.unsqueeze(0) for name, view in head_tensors(views).items()}
        return self.backbone.head.logits(tensors, features)

    def _views(self) -> State:
        (shapes,) = self.shapes
        parts = self.parameters[0].split([shape.numel() for shape in shapes.values()])
        views = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        if torch.is_grad_enabled():
            for name, hook in self._built.gradient_hooks:
                views[name].register_hook(hook)
        return views

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self._config.peft_type == "POLY":
            inputs["task_ids"] = batch.input_ids.new_zeros(len(batch))
        return inputs

    def _check_length(self, batch: Batch) -> None:
        needed = batch.input_ids.shape[1] + self._config.settings().get("num_virtual_tokens", 0)
        if needed > self.backbone.max_length:
            raise ValueError(
                f"{needed} positions are needed for tokens and prompt together; "
                f"the backbone has {self.backbone.max_length}"
            )

    @contextmanager
    def _chance(self, training: bool) -> Iterator[None]:
        """Let every step draw its own numbers, and the same ones again when a training is repeated."""
        if not training:
            yield
            return
        device = self.backbone.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.candidates[0].seed * 1_000_003 + self._step)
            yield

    # ----------------------------------------------------------------------- peft's rules

    def after_step(self, gradient: Tensor, step: int, steps: int) -> None:
        """What peft does after step `step` of `steps` (from 0): AdaLoRA drops ranks by their gradients."""
        self._step = step + 1
        if self._config.peft_type == "ADALORA":
            self._allocate(gradient, step, steps)

    def _allocate(self, gradient: Tensor, step: int, steps: int) -> None:
        tuner: Any = self._built.model.base_model
        budget = self._built.model.active_peft_config
        budget.total_step = steps
        budget.tinit, budget.tfinal = round(ADALORA_RISE * steps), round(ADALORA_FALL * steps)
        live = self._built.tensors()
        (clipped,) = self.unpack(clip_per_candidate(gradient, MAX_NORM))
        (state,) = self.unpack(self.parameters)
        for name in self._built.trained:
            live[name].data.copy_(state[name])
            live[name].grad = clipped[name]
        with self._explained():
            tuner.update_and_allocate(step)
        with torch.no_grad():
            self.parameters.copy_(self.pack([state | {name: live[name] for name in self._built.trained}]))

    # --------------------------------------------------------------------------- storing

    def pack(self, states: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "candidates parameters"]:
        """The trained tensors of a state as one row."""
        (shapes,), (state,) = self.shapes, states
        return torch.cat([state[name].detach().flatten() for name in shapes]).unsqueeze(0)

    def unpack(self, rows: Float[Tensor, "candidates parameters"]) -> list[State]:
        """The inverse of `pack`."""
        (shapes,) = self.shapes
        parts = rows.detach()[0].split([shape.numel() for shape in shapes.values()])
        return [{n: part.view(shape).clone() for (n, shape), part in zip(shapes.items(), parts, strict=True)}]

    def rates(self) -> None:
        """One learning rate serves all its tensors."""

    def states(self) -> list[State]:
        """The trained tensors, and those frozen ones that peft stores, such as VeRA's projections."""
        live = self._built.tensors()
        (trained,) = self.unpack(self.parameters)
        return [trained | {name: live[name].detach().clone() for name in self._built.stored}]

    def deployed(self) -> list[tuple[MethodConfig, State]]:
        """What a training leaves behind: all that is stored."""
        (state,) = self.states()
        return [(self._config, state)]

    def separate(self) -> PeftModel:
        """peft's model around weights of its own, with the trained tensors in their places; fp32, on the CPU."""
        (state,) = self.states()
        model = copy.deepcopy(self._built.model).float().cpu()
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name in state:
                tensor.data.copy_(state[name])
        return model

    def select(self, kept: Sequence[int]) -> PeftStack:
        """Itself: there is no other candidate."""
        if list(kept) != [0]:
            raise ValueError(f"a stack of one has no candidates {list(kept)}")
        return self

    def on(self, backbone: Backbone) -> PeftStack:
        """The same candidate on another copy of the backbone, in its dtype."""
        if backbone is self.backbone:
            return self
        return PeftStack(backbone, self.candidates, self.classes, self.states())


def _fitting(state: State, made: State) -> State:
    if {name: t.shape for name, t in state.items()} != {name: t.shape for name, t in made.items()}:
        raise ValueError("the stored tensors are not those that this version of peft makes")
    return state
