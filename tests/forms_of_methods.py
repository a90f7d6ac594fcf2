"""Every method in all its forms, and neighbours that may share a stack with each."""

from __future__ import annotations

from dataclasses import replace

import trainers.methods  # noqa: F401
from trainers.domains import Choice, Domain, Int
from trainers.method import METHODS, MethodConfig, domains

SEARCHED = [method for method in METHODS.values() if method.searched != "never"]


def other_value(domain: Domain, default: object) -> object:
    """Some other value of a domain, not far from the default."""
    if isinstance(domain, Choice):
        return next((option for option in domain.options if option != default), default)
    if isinstance(domain, Int):
        assert isinstance(default, int)
        return max(domain.low, default // 2) if default > domain.low else default + 1
    assert isinstance(default, float)
    return max(domain.low, default / 3)


def forms(method: type[MethodConfig]) -> list[MethodConfig]:
    """The default, and each choice that computes something else than it, so that it needs its own stack."""
    found = {method().stack_key: method()}
    for name, domain in domains(method).items():
        for option in domain.options if isinstance(domain, Choice) else ():
            changed = replace(method(), **{name: option})
            found.setdefault(changed.stack_key, changed)
    return list(found.values())


def variants(form: MethodConfig) -> list[MethodConfig]:
    """A configuration and, field by field, neighbours of it; only those that may share its stack."""
    found = [form]
    for name, domain in domains(type(form)).items():
        changed = replace(form, **{name: other_value(domain, getattr(form, name))})
        alike = changed.stack_key == form.stack_key and not form.alone
        if alike and changed != form and name in changed.values():
            found.append(changed)
    return found


FORMS = [form for method in SEARCHED for form in forms(method)]
