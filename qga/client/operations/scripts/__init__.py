"""What runs in the guest to put files there while others change what they may: shell texts, for any POSIX sh.

The agent is root in the guest, and a path is looked up anew at each use. Who may write to a directory on the way can
put a symbolic link there between two uses, and would have root write, chmod or chown what that leads to. So:

- A directory's names are *all* safe where it belongs to root or to the agent's user, and so do all directories above
  it, and nobody else may write to any of them. Of a sticky one, as /tmp, those that are our *own* are safe. Below one
  whose names are not, *none* are. ``walk`` goes down from / and judges each directory when it is in it.
- A link is followed only where the names around it are safe. Elsewhere it is refused: the path that it leads to says
  the same.
- Below that, ``walk`` goes by one name at a time, and has the kernel say where that has led, not the path: a working
  directory is a file, not a name, and nothing that is renamed meanwhile changes it. All further work is by single
  names in it: mkdir(2), symlink(2), link(2) and rename(2) do not follow the last one.
- The agent's guest-file-open follows links. So a part grows in the innermost directory where it stays ours, with mode
  0600, and comes into its place by rename(2); from there into a directory of others' as a hard link or, on another
  filesystem, as a copy. Owner, mode and time are set by a descriptor, or in the working directory on ``.``.
- A directory has its mode from mkdir(2) on, and is never more open. Only where nobody else could have put another one
  there does it get another mode later.

What others can do is to have a copy into their own directory fail, or change that copy once it is theirs.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_COMMENTS = re.compile(r"^ *#.*\n| +# .*$", re.MULTILINE)


@cache
def alone(name: str) -> str:
    """One file's text; its comments stay here."""
    return _COMMENTS.sub("", resources.files(__name__).joinpath(f"{name}.sh").read_text(encoding="utf-8"))


def text(name: str) -> str:
    """Of ``prepare``, ``finish`` and their kin, which have ``walk`` before them."""
    return alone("walk") + alone(name)
