"""Methods by their names: ours, or peft's such as `peft:OFT`; nothing here waits for transformers."""

from __future__ import annotations

from importlib.util import find_spec

import trainers.methods  # noqa: F401  (registers the methods)
from trainers.bridge import PREFIX, bridged
from trainers.method import METHODS, MethodConfig


def method_named(name: str) -> type[MethodConfig]:
    """The configuration class of a method, ours or peft's.

    Raises:
        ValueError: for an unknown one, or one of peft's where peft is not installed.
    """
    if name in METHODS:
        return METHODS[name]
    if not name.lower().startswith(PREFIX):
        raise ValueError(f"method {name!r} is unknown; methods: {', '.join(METHODS)}")
    found = bridged(PREFIX + name[len(PREFIX) :])
    if find_spec("peft") is None:
        raise ValueError(
            f"method {found.name} is run by peft, which is not installed; "
            f"install it with: pip install 'peltier[peft]'"
        )
    return found
