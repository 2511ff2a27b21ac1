"""The command line: argv → the texts given for each option, built from the table of options.

The rule it keeps: it reads words and judges no values; the texts go on, in their order, to qga.config.

It accepts what getopt_long(3) accepts: unambiguous abbreviations of long options, bundled short ones, words
that are no options anywhere (they are ignored, as the reference does).
"""

from __future__ import annotations

import getopt
import re
from typing import TYPE_CHECKING, NamedTuple

from qga.options import (
    ACTIONS,
    BOOL,
    CONFIG_FILE,
    EXPLAIN,
    GONE,
    JSON,
    NAMES,
    OPTIONS,
    OUR_ACTIONS,
    Action,
    ConfigError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PROGRAM = "qemu-ga"
LIST_WORDS = ("help", "?")

_ROWS = {flag: option for option in OPTIONS for flag in option.flags}
_ALL_ACTIONS = (*ACTIONS, *OUR_ACTIONS)
_ACTIONS = {flag: action for flags, action, _ in _ALL_ACTIONS for flag in flags}
_VALUED = {flag for flag, option in _ROWS.items() if option.kind is not BOOL} | {*CONFIG_FILE[0], *EXPLAIN[0], "-s"}
# The last is for Windows: QEMU's agent swallows it elsewhere.
_FLAGS = (*_ROWS, *_ACTIONS, *CONFIG_FILE[0], *EXPLAIN[0], *JSON[0], "-s")
_SHORT = "".join(flag[1] + ":" * (flag in _VALUED) for flag in _FLAGS if not flag.startswith("--"))
_LONG = [flag[2:] + "=" * (flag in _VALUED) for flag in _FLAGS if flag.startswith("--")]


class Given(NamedTuple):
    """What argv said: ``texts`` has the values by key of the option, in their order, unjudged.

    ``config_path`` is None if no -c was given; ``request`` is that of --explain.
    """

    action: Action
    config_path: str | None
    texts: dict[str, list[str]]
    request: str = ""
    json: bool = False


def usage() -> str:
    """The text of --help."""
    import textwrap

    rows = [(_spelled(option.flags, option.metavar, option.bare), option.help) for option in OPTIONS]
    rows += [(_spelled(*row[:2]), row[2]) for row in (CONFIG_FILE, EXPLAIN)]
    rows += [(_spelled(flags), text) for flags, _, text in _ALL_ACTIONS]
    rows.append((_spelled(JSON[0]), JSON[1]))
    lines = [
        f"usage: {PROGRAM} [-m METHOD -p PATH] [options]",
        "",
        "The guest agent: serves requests of the host.",
        "",
    ]
    for spelled, text in rows:
        lines.append(f"  {spelled}")
        lines += textwrap.wrap(text, 78, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines) + "\n"


def _spelled(flags: tuple[str, ...], metavar: str = "", bare: str | None = None) -> str:
    """-m, --method METHOD"""
    if not metavar:
        return ", ".join(flags)
    if bare is not None:
        return ", ".join(f"{flag}[{'=' * flag.startswith('--')}{metavar}]" for flag in flags)
    return f"{', '.join(flags)} {metavar}"


def parse(argv: Sequence[str]) -> Given:
    """Read the words after the program's name. Raises ConfigError for an unknown or incomplete option."""
    try:
        found, _ = getopt.gnu_getopt(list(_attach_bare(map(_expand, argv))), _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise ConfigError(f"{error.msg}{_hint(error.opt)}; try '{PROGRAM} --help'") from None
    texts: dict[str, list[str]] = {option.key: [] for option in OPTIONS}
    actions, config_path, request, json = [], None, None, False
    for flag, text in found:
        if flag in _ROWS:
            option = _ROWS[flag]
            texts[option.key].append("true" if option.kind is BOOL else text)
        elif flag in _ACTIONS:
            actions.append(_ACTIONS[flag])
        elif flag in CONFIG_FILE[0]:
            config_path = text
        elif flag in EXPLAIN[0]:
            request = text
        elif flag in JSON[0]:
            json = True
    action = _action(actions, texts)
    if action is Action.RUN and request is not None:
        action = Action.EXPLAIN
    return Given(action, config_path, texts, request or "", json)


def _action(actions: Sequence[Action], texts: dict[str, list[str]]) -> Action:
    """--help and --version answer whatever else is given, then 'help' for a list, and only then those that read."""
    for action in actions:
        if action in (Action.HELP, Action.VERSION):
            return action
    lists = [text for option in OPTIONS if option.kind is NAMES for text in texts[option.key]]
    if any(text in LIST_WORDS for text in lists):
        return Action.LIST_COMMANDS
    return actions[0] if actions else Action.RUN


def _expand(word: str) -> str:
    """An abbreviation that QEMU's agent understands in full: no option of ours may make it ambiguous."""
    name, equals, value = word.partition("=")
    rows = [option.flags for option in OPTIONS if not option.ours] + [CONFIG_FILE[0]]
    rows += [flags for flags, action, _ in ACTIONS if action is not Action.CHECK]
    meant = [flag for flags in rows for flag in flags if flag.startswith(name)]
    exact = any(name in flags for flags in (*(option.flags for option in OPTIONS), *(row[0] for row in OUR_ACTIONS)))
    abbreviated = name.startswith("--") and len(name) > len("--") and not exact
    return f"{meant[0]}{equals}{value}" if abbreviated and len(meant) == 1 else word


def _attach_bare(words: Iterable[str]) -> list[str]:
    """Attach the value meant by an option given bare: getopt would take the next word for it."""
    switches = "".join(flag[1] for flag in _FLAGS if flag not in _VALUED and not flag.startswith("--"))

    def attach(word: str) -> str:
        for option in OPTIONS:
            if option.bare is not None:
                short, long = option.flags
                if re.fullmatch(f"-[{switches}]*{short[1]}", word):
                    return word + option.bare
                if word == long:
                    return f"{long}={option.bare}"
        return word

    return [attach(word) for word in words]


def _hint(name: str) -> str:
    """What might have been meant by a name without its hyphens."""
    from difflib import get_close_matches

    if name in GONE:
        return f": it is gone, use --{GONE[name]}"
    names = [flag[2:] for flag in _FLAGS if flag.startswith("--")]
    close = [other for other in names if other.startswith(name)] or get_close_matches(name, names, n=1)
    return f" (did you mean {' or '.join(f'--{other}' for other in close)}?)" if close and name not in names else ""
