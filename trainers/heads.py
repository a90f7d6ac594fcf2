"""What the heads of candidates side by side read, and their losses."""

from __future__ import annotations

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.imbalance import Weighting


def read_features(
    backbone: Backbone, hidden: Float[Tensor, "examples tokens d"], batch: Batch
) -> Float[Tensor, "candidates items d"]:
    """What heads read of the last layer, fp32: of each example of the batch, or of each of its words.

    The examples are those of the batch once for each candidate, or the candidates' own.
    """
    count = len(hidden) // len(batch)
    if batch.words is not None:
        rows = hidden.reshape(count, -1, hidden.shape[-1])
        if batch.owners == 1:
            return rows[:, batch.words].float()
        return rows.gather(1, batch.words.unsqueeze(-1).expand(-1, -1, rows.shape[-1])).float()
    mask = batch.attention_mask.repeat(count // batch.owners, 1)
    pooled: Tensor = backbone.features(hidden, mask).unflatten(0, (count, len(batch)))
    return pooled


def losses(
    logits: Float[Tensor, "candidates items outputs"],
    labels: Shaped[Tensor, "items ..."],
    weighting: Weighting | None = None,
) -> Float[Tensor, " candidates"]:
    """Mean loss of each candidate over the batch, as items count for it; the form of the labels tells which.

    | labels | loss |
    |---|---|
    | indices of classes `[items]` | cross-entropy |
    | 0 or 1 for each class `[items, classes]` | mean of the binary cross-entropies of all classes |
    | numbers `[items]` | squared error |
    """
    candidates, items, outputs = logits.shape
    if labels.ndim == 2:
        each = binary_cross_entropy_with_logits(logits, labels.expand_as(logits), reduction="none")
    elif labels.is_floating_point():
        each = (logits.squeeze(-1) - labels).square()
    else:
        flat = cross_entropy(logits.reshape(-1, outputs), labels.repeat(candidates), reduction="none")
        each = flat.view(candidates, items)
    if weighting is not None:
        each = weighting.applied(each, labels)
    return (each if each.ndim == 2 else each.mean(-1)).mean(1)
