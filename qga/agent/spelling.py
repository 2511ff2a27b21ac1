"""Unknown names: find a similar known name, and tell whether a name may be meant to restrict something.

The rule it keeps: this module only compares words; its callers decide what to do about them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Words that configuration files use for restrictions (what may be done, by whom, how much), or for other files that
# contain restrictions. They count anywhere in a name: "superusers" contains "user". It is better to refuse one name
# too many than to ignore a restriction.
_RESTRICTING = (
    "access|allow|audit|auth|black|block|cap|command|conf|deni|deny|disabl|enabl|exclu|exec|file|filter|forbid|freez"
    "|group|guest|hidden|hide|hook|includ|key|limit|lock|max|min|network|only|password|peer|permi|polic|power|priv"
    "|profile|prohibit|protect|quota|read|refuse|reject|require|restrict|role|rpc|rule|safe|sandbox|secur|shell|ssh"
    "|strict|suspend|timeout|trust|user|white|writ"
)


def similar(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name most similar to ``word``, ignoring case and hyphens, or None.

    ``cutoff`` is how similar the two must be, from 0 to 1, as in difflib.get_close_matches().
    """
    from difflib import get_close_matches  # imported here because it is rarely needed

    names = {_folded(name): name for name in known}
    close = get_close_matches(_folded(word), names, n=1, cutoff=cutoff)
    return names[close[0]] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about ``word``: " (did you mean 'x'?)", or nothing."""
    close = similar(word, known)
    return f" (did you mean {close!r}?)" if close else ""


def may_restrict(word: str) -> bool:
    """Return whether a key with this name may be meant to restrict something."""
    return re.search(_RESTRICTING, word.casefold()) is not None


def _folded(word: str) -> str:
    return re.sub(r"[\s_-]+", "-", word.strip().casefold())
