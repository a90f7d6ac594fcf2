"""The user's mistakes, apart from the code that finds them: who only tells them waits for none of it."""

from __future__ import annotations


class TaskError(ValueError):
    """A mistake in the user's data or arguments; its message is one line that is shown as it is."""


class BackboneError(ValueError):
    """The user named a backbone that cannot be used; the message is shown as it is."""


class ExportError(ValueError):
    """An export that must not be used or released; the message is shown as it is."""
