"""AdamW for a stack: one tensor of all parameters, one learning rate for each candidate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adamw import adamw

BETAS = (0.9, 0.999)
EPSILON = 1e-8
MAX_NORM = 1.0
LARGE = 10_000_000
"""Numbers of one candidate above which torch's fused step is taken: only full fine-tuning has so many.
Smaller ones move alone exactly as in a stack."""


class AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) over `[candidates, parameters]`.

    For one candidate it equals `torch.optim.AdamW` behind `clip_grad_norm_`.
    """

    def __init__(
        self,
        shape: torch.Size,
        learning_rates: Sequence[float],
        weight_decays: Sequence[float],
        rates: Tensor | None = None,
    ) -> None:
        """`rates` (`[candidates, parameters]`, on the CPU) are factors of the learning rate."""
        self.mean = torch.zeros(shape)
        self.square = torch.zeros(shape)
        self.learning_rate = torch.tensor(learning_rates).unsqueeze(1)
        if rates is not None:
            self.learning_rate = self.learning_rate * rates
        self.weight_decay = torch.tensor(weight_decays).unsqueeze(1)
        self.decay_alone = float(weight_decays[0])
        self.steps = 0

    def to(self, device: torch.device) -> AdamW:
        """Move the state to a device."""
        for name in ("mean", "square", "learning_rate", "weight_decay"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    @torch.no_grad()
    def step(
        self, parameters: Tensor, gradient: Tensor, factor: float | Float[Tensor, "candidates 1"]
    ) -> None:
        """Clip, then move every candidate by its own learning rate times its `factor`."""
        self.steps += 1
        rate = self.learning_rate * factor
        if rate.numel() == 1 and parameters.numel() > LARGE:
            self._step_alone(parameters, gradient, rate)
            return
        gradient = clip_per_candidate(gradient, MAX_NORM)
        self.mean.lerp_(gradient, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        parameters.mul_(1 - rate * self.weight_decay)
        denominator = self.square.sqrt().div_((1 - BETAS[1] ** self.steps) ** 0.5).add_(EPSILON)
        parameters.sub_(self.mean / denominator * (rate / (1 - BETAS[0] ** self.steps)))

    def _step_alone(self, parameters: Tensor, gradient: Tensor, rate: Tensor) -> None:
        """One candidate with one learning rate: torch's own fused step, which passes over memory once.

        The gradient is clipped in place: a new tensor of that size costs more than the step.
        """
        gradient.mul_(clip_factors(gradient, MAX_NORM))
        adamw(
            [parameters],
            [gradient],
            [self.mean],
            [self.square],
            [],
            [torch.tensor(float(self.steps - 1), device=parameters.device)],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate.reshape(()),
            weight_decay=self.decay_alone,
            eps=EPSILON,
            maximize=False,
        )


def clip_per_candidate(
    gradient: Float[Tensor, "candidates parameters"], max_norm: float
) -> Float[Tensor, "candidates parameters"]:
    """Scale each candidate's gradient down to `max_norm`, so that one spike does not slow the others.

    Equals `torch.nn.utils.clip_grad_norm_` for one candidate.
    """
    return gradient * clip_factors(gradient, max_norm)


def clip_factors(
    gradient: Float[Tensor, "candidates parameters"], max_norm: float
) -> Float[Tensor, "candidates 1"]:
    """By what each candidate's gradient is multiplied; 1 where its norm is small enough."""
    norms = gradient.norm(dim=1, keepdim=True)
    factors: Tensor = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return factors


def schedule(steps: int, warmups: Sequence[float]) -> Float[Tensor, "steps candidates 1"]:
    """Factors of the learning rates at each step of a whole training.

    A linear rise over the candidate's share of the steps, then a linear fall to zero.
    """
    step = torch.arange(steps).unsqueeze(1)
    rise = torch.tensor([max(1, round(warmup * steps)) for warmup in warmups])
    factors = torch.where(step < rise, (step + 1) / rise, (steps - step) / (steps - rise).clamp(min=1))
    return factors.unsqueeze(2)
