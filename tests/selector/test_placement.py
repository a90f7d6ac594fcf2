"""How many workers fit, what is refused, and what the refusal lists."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from selector import placement
from selector.placement import ClusterError, Node, Placement, Wanted, place, place_again
from selector.study import DataFile, RequestError, StudySpec


def node(
    name: str, cpus: float, gpus: float = 0, *, free: float | None = None, free_gpus: float | None = None
) -> Node:
    return Node(
        name=name,
        cpus=cpus,
        gpus=gpus,
        free_cpus=cpus if free is None else free,
        free_gpus=gpus if free_gpus is None else free_gpus,
    )


@pytest.mark.parametrize(
    ("wanted", "nodes", "given"),
    [
        (Wanted(), [node("a", 4)], (4, 1, 0)),
        (Wanted(cpus=3), [node("a", 4), node("b", 8), node("c", 2)], (3, 3, 0)),
        (Wanted(workers=2), [node("a", 4)], (2, 1, 0)),
        # A head node without cores for others, as KubeRay's often is.
        (Wanted(), [node("head", 0), node("a", 2)], (2, 1, 0)),
        (Wanted(), [node("a", 16, 4), node("b", 16)], (4, 1, 1)),
        (Wanted(gpus=0), [node("a", 16, 4)], (16, 1, 0)),
        (Wanted(gpus=0.5), [node("a", 16, 2)], (4, 1, 0.5)),
        # 0.4 twice on each GPU: the two left-overs of 0.2 are no place for a third.
        (Wanted(gpus=0.4), [node("a", 16, 2)], (4, 1, 0.4)),
        (Wanted(gpus=1 / 3), [node("a", 16, 1)], (3, 1, 1 / 3)),
        (Wanted(gpus=0.25), [node("a", 2, 1)], (2, 1, 0.25)),
        (Wanted(), [node("a", 4, free=1)], (1, 1, 0)),
        (Wanted(gpus=0.5), [node("a", 8, 2, free_gpus=1.5)], (3, 1, 0.5)),
    ],
)
def test_workers_fit_as_they_are_counted_by_hand(
    wanted: Wanted, nodes: list[Node], given: tuple[int, int, float]
) -> None:
    assert place(wanted, nodes) == Placement(workers=given[0], cpus=given[1], gpus=given[2])


@pytest.mark.parametrize(
    ("wanted", "nodes", "message"),
    [
        (
            Wanted(gpus=1),
            [node("10.0.0.1", 8), node("10.0.0.2", 4)],
            "no room for a worker with 1 CPU and 1 GPU: there is room for 0; "
            "nodes: 10.0.0.1 has 8 CPUs, 10.0.0.2 has 4 CPUs",
        ),
        # 12 cores in all, but no node has 9.
        (
            Wanted(cpus=9),
            [node("10.0.0.1", 8), node("10.0.0.2", 4)],
            "no room for a worker with 9 CPUs: there is room for 0; "
            "nodes: 10.0.0.1 has 8 CPUs, 10.0.0.2 has 4 CPUs",
        ),
        (
            Wanted(workers=3, cpus=2),
            [node("a", 4, 1, free=2)],
            "no room for 3 workers with 2 CPUs and 1 GPU each: there is room for 1; "
            "nodes: a has 4 CPUs and 1 GPU (2 CPUs and 1 GPU free)",
        ),
        (
            Wanted(),
            [node("a", 2, free=0)],
            "no room for a worker with 1 CPU: there is room for 2, 0 of them free; "
            "nodes: a has 2 CPUs (0 CPUs free)",
        ),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wanted: Wanted, nodes: list[Node], message: str) -> None:
    with pytest.raises(ClusterError) as refused:
        place(wanted, nodes)
    assert str(refused.value) == message


def test_a_long_list_of_nodes_is_cut() -> None:
    with pytest.raises(ClusterError, match=r"n7 has 1 CPU, and 12 more$"):
        place(Wanted(cpus=2), [node(f"n{i}", 1) for i in range(20)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "--workers is 0; it must be at least 1"),
        ({"cpus_per_worker": 0}, "--cpus-per-worker is 0"),
        ({"gpus_per_worker": 2.0}, "a worker trains on one GPU"),
        ({"address": "ray://head:10001"}, "run peltier on a node of the cluster"),
        ({"address": "head"}, "write HOST:PORT, or auto"),
        ({"address": "auto", "runner": "local"}, "are for runner ray"),
        ({"workers": 2, "runner": "local"}, "are for runner ray"),
    ],
)
def test_a_study_cannot_ask_for_what_makes_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        StudySpec(train=DataFile(name="rows.csv"), backbone="any", **options)  # type: ignore[arg-type]


def test_a_study_keeps_where_it_was_to_run() -> None:
    spec = StudySpec(
        train=DataFile(name="rows.csv"), backbone="any", address="[::1]:6379", workers=2, gpus_per_worker=0.5
    )
    kept = StudySpec.from_json(spec.to_json())
    assert (kept.address, kept.wanted) == ("[::1]:6379", Wanted(workers=2, gpus=0.5))


BEFORE = Placement(workers=2, cpus=1, gpus=0)


def test_after_a_break_there_are_as_many_workers_again_as_soon_as_their_places_are_free() -> None:
    seen = iter([[node("a", 2, free=0)], [node("a", 2, free=1)], [node("a", 2)]])
    assert place_again(Wanted(), lambda: next(seen), BEFORE) == BEFORE


@pytest.mark.parametrize("free", [0, 1])
def test_after_a_break_places_that_stay_taken_are_waited_for_only_so_long(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "RELEASED_SECONDS", 0.5)
    seen = chain([[node("a", 2, free=0)]], repeat([node("a", 2, free=free)]))
    if free:
        assert place_again(Wanted(), lambda: next(seen), BEFORE).workers == free
    else:
        with pytest.raises(ClusterError, match="no room for a worker with 1 CPU: there is room for 2, 0 of"):
            place_again(Wanted(), lambda: next(seen), BEFORE)
