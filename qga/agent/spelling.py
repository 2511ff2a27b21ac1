"""Unknown names: which known name is similar, and whether a name may be meant to restrict something.

The rule it keeps: it only compares words; its callers decide what to do about them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Words by which configurations, this one and others, restrict what may be done, by whom, and how much of it, or name
# another file that does. They count anywhere in a name: "superusers" has one. Better to refuse one name too many than
# to ignore a restriction.
_RESTRICTING = (
    "access|allow|audit|auth|black|block|cap|command|conf|deni|deny|disabl|enabl|exclu|exec|file|filter|forbid|freez"
    "|group|guest|hidden|hide|hook|includ|key|limit|lock|max|min|network|only|password|peer|permi|polic|power|priv"
    "|profile|prohibit|protect|quota|read|refuse|reject|require|restrict|role|rpc|rule|safe|sandbox|secur|shell|ssh"
    "|strict|suspend|timeout|trust|user|white|writ"
)


def similar(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most similar to ``word``, whatever its case and its hyphens, or None.

    ``cutoff`` is how similar the two must be, from 0 to 1: difflib.get_close_matches.
    """
    from difflib import get_close_matches  # imported here: most starts do not need it

    names = {_folded(name): name for name in known}
    close = get_close_matches(_folded(word), names, n=1, cutoff=cutoff)
    return names[close[0]] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """Return the end of an error about ``word``: " (did you mean 'x'?)", or nothing."""
    close = similar(word, known)
    return f" (did you mean {close!r}?)" if close else ""


def may_restrict(word: str) -> bool:
    """Return whether a key of this name may be meant to restrict something."""
    return re.search(_RESTRICTING, word.casefold()) is not None


def _folded(word: str) -> str:
    return re.sub(r"[\s_-]+", "-", word.strip().casefold())
