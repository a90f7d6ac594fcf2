"""What every method must satisfy, a newcomer's too: nobody is named here but UniPELT's reference variants."""

from __future__ import annotations

import pytest
import torch
from forms_of_methods import FORMS, SEARCHED, variants
from tiny import CLASSES, batch_of, train

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.cost import cost_of
from trainers.domains import Float
from trainers.export import Module, module_from_bytes
from trainers.heads import losses
from trainers.method import METHODS, MethodConfig, conditions_of, domains
from trainers.stack import Candidate, Stack


def shown(config: MethodConfig) -> str:
    """The name of a method and what is not its default, as the name of a test."""
    changed = {k: v for k, v in config.values().items() if v != getattr(type(config)(), k)}
    return " ".join([config.name, *(f"{name}={value}" for name, value in changed.items())])


def gradients(stack: Stack, batch: Batch) -> list[dict[str, torch.Tensor]]:
    with stack.attached():
        loss = losses(stack.logits(batch), batch.labels).sum()
        (rows,) = torch.autograd.grad(loss, stack.parameters)
    return stack.unpack(rows)


def close(
    a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, relative: float = 0.0, absolute: float = 0.0
) -> None:
    assert a.keys() == b.keys()
    for name in a:
        limit = absolute + relative * float(b[name].abs().max())
        assert float((a[name] - b[name]).abs().max()) <= limit, name


@pytest.mark.parametrize("form", FORMS, ids=shown)
def test_candidate_in_a_stack_has_the_gradients_it_has_alone(form: MethodConfig, backbone: Backbone) -> None:
    candidates = [Candidate(config, seed) for seed, config in enumerate(variants(form))]
    assert len(candidates) > 1 or form.alone
    together = gradients(Stack(backbone, candidates, CLASSES), batch_of(backbone))
    for candidate, stacked in zip(candidates, together, strict=True):
        (alone,) = gradients(Stack(backbone, [candidate], CLASSES), batch_of(backbone))
        close(stacked, alone, relative=1e-4, absolute=1e-8)


@pytest.mark.parametrize(("optimizer", "tolerance"), [("sgd", 1e-5), ("adamw", 1e-4)])
@pytest.mark.parametrize("form", FORMS, ids=shown)
def test_candidate_in_a_stack_trains_to_the_weights_it_trains_to_alone(
    form: MethodConfig, optimizer: str, tolerance: float, backbone: Backbone
) -> None:
    candidates = [Candidate(config, seed) for seed, config in enumerate(variants(form))]
    together = train(Stack(backbone, candidates, CLASSES), 5, optimizer)
    for candidate, stacked in zip(candidates, together, strict=True):
        (alone,) = train(Stack(backbone, [candidate], CLASSES), 5, optimizer)
        close(stacked, alone, absolute=tolerance)


@pytest.mark.parametrize("method", SEARCHED, ids=lambda m: m.name)
def test_every_tensor_learns_on_every_family_and_the_backbone_does_not(
    method: type[MethodConfig], any_backbone: Backbone
) -> None:
    before = any_backbone.weight_hash
    stack = Stack(any_backbone, [Candidate(method(), 0)], CLASSES)
    (start,) = stack.states()
    (end,) = train(stack, 4, "adamw")
    unmoved = [name for name in start if torch.equal(start[name], end[name])]
    assert unmoved == []
    del any_backbone.__dict__["weight_hash"]
    assert any_backbone.weight_hash == before
    assert all(parameter.grad is None for parameter in any_backbone.model.parameters())


@pytest.mark.parametrize("method", SEARCHED, ids=lambda m: m.name)
def test_selected_candidates_predict_what_they_predicted_before(
    method: type[MethodConfig], backbone: Backbone
) -> None:
    stack = Stack(backbone, [Candidate(c, seed) for seed, c in enumerate(variants(method()))], CLASSES)
    train(stack, 3, "adamw")
    batch = batch_of(backbone)
    chosen = [0] if method.alone else [len(stack) - 1, 0]
    with stack.attached(), torch.no_grad():
        before = stack.logits(batch)[chosen]
    kept = stack.select(chosen)
    with kept.attached(), torch.no_grad():
        assert torch.allclose(kept.logits(batch), before, atol=1e-5)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_stored_and_reloaded_module_predicts_the_same(method: type[MethodConfig], backbone: Backbone) -> None:
    stack = Stack(backbone, [Candidate(method(), 1)], CLASSES)
    train(stack, 3, "adamw")
    module = module_from_bytes(Module(method(), 1, stack.states()[0]).to_bytes())
    again = Stack(backbone, [Candidate(module.config, module.seed)], CLASSES, [module.state])
    batch = batch_of(backbone)
    with torch.no_grad():
        with stack.attached():
            trained = stack.logits(batch)
        with again.attached():
            assert torch.equal(again.logits(batch), trained)


@pytest.mark.parametrize("method", SEARCHED, ids=lambda m: m.name)
def test_padding_and_neighbours_do_not_change_a_prediction(
    method: type[MethodConfig], any_backbone: Backbone
) -> None:
    stack = Stack(any_backbone, [Candidate(method(), 0)], CLASSES)
    train(stack, 3, "adamw")
    together = batch_of(any_backbone)
    with stack.attached(), torch.no_grad():
        logits = stack.logits(together)[0]
        for row in range(6):
            alone = stack.logits(batch_of(any_backbone, slice(row, row + 1)))[0, 0]
            assert torch.allclose(alone, logits[row], atol=1e-5)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_declared_cost_equals_the_trained_numbers(method: type[MethodConfig], any_backbone: Backbone) -> None:
    (state,) = Stack(any_backbone, [Candidate(method(), 0)], CLASSES).states()
    cost = cost_of(method(), any_backbone.sites, CLASSES, any_backbone.hidden_size)
    assert cost.trainable_parameters == sum(tensor.numel() for tensor in state.values())
    assert cost.head_parameters == CLASSES * (any_backbone.hidden_size + 1)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_defaults_lie_inside_their_domains_and_plain_values_round_trip(method: type[MethodConfig]) -> None:
    for config in [method(), *method.strong_defaults()]:
        assert method.from_values(config.values()) == config
    assert set(conditions_of(method)) <= set(domains(method))
    with pytest.raises(ValueError, match="has no field 'colour'"):
        method.from_values({"colour": "red"})
    with pytest.raises(ValueError, match=r"learning_rate is 7\.0; it must be a number from"):
        method.from_values({"learning_rate": 7.0})


def test_float_domains_are_searched_on_a_log_scale_where_they_span_decades() -> None:
    for method in SEARCHED:
        for name, domain in domains(method).items():
            if isinstance(domain, Float) and domain.low > 0 and domain.high / domain.low >= 50:
                assert domain.log, f"{method.name}.{name}"
