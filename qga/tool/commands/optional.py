"""Commands that an agent may lack, or that the guest's owner may have blocked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qga.client.errors import CommandFailed

T = TypeVar("T")


def optional(ask: Callable[[], T]) -> T | None:
    """Return what a command returns; None where the agent lacks it, does not allow it, or answers with an error."""
    try:
        return ask()
    except CommandFailed:
        return None
