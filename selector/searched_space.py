"""The space of a request: what is searched on its backbone, for its task."""

from __future__ import annotations

from selector.finite import fewer_than
from selector.narrowed import searched_space
from selector.space import Space
from selector.study import RequestError, StudySpec
from trainers.backbone import outline
from trainers.task import Task


def space_for(spec: StudySpec, task: Task | None = None) -> tuple[Space, list[str]]:
    """What is searched on the backbone, for a task if it is known, and what is to be said of it:

    which methods are left out, and why.

    Raises:
        RequestError: if a method is unknown, none is left, or the narrowing is not possible.
    """
    sites = outline(spec.backbone, spec.dtype).sites
    try:
        space, reasons = searched_space(spec.methods, spec.narrowing, sites, task)
    except ValueError as error:
        raise RequestError(str(error)) from None
    if not space.methods:
        raise RequestError(f"no method can run on backbone {spec.backbone!r}: {'; '.join(reasons)}")
    held = fewer_than(spec.trials, space)
    if held is not None:
        reasons.append(f"the space holds {held} configurations; the search ends with those")
    return space, reasons
