"""The command line: argv → the texts given for each option, built from the table of options.

The rule it keeps: it reads words and judges no values; the texts go on, in their order, to qga.config.

It accepts what getopt_long(3) accepts: unambiguous abbreviations of long options, bundled short ones, words
that are no options anywhere (they are ignored, as the reference does).
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Never

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


@dataclass(frozen=True)
class Given:
    """What argv said: ``texts`` has the values by key of the option, in their order, unjudged.

    ``config_path`` is None if no -c was given; ``request`` is that of --explain.
    """

    action: Action
    config_path: str | None
    texts: dict[str, list[str]]
    request: str = ""
    json: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise ConfigError(f"{message}; try '{PROGRAM} --help'")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-m METHOD -p PATH] [options]",
        description="The guest agent: serves requests of the host.",
        add_help=False,
    )
    add = parser.add_argument
    for option in OPTIONS:
        # argparse formats help with %, so a row's own % must survive it.
        text = option.help.replace("%", "%%")
        if option.kind is BOOL:
            add(*option.flags, dest=option.key, action="append_const", const="true", help=text)
        else:
            nargs = None if option.bare is None else "?"
            metavar = option.metavar
            add(*option.flags, dest=option.key, action="append", nargs=nargs, metavar=metavar, help=text)
    for (flags, metavar, text), name in ((CONFIG_FILE, "config"), (EXPLAIN, "request")):
        add(*flags, dest=name, metavar=metavar, help=text)
    actions: tuple[tuple[tuple[str, ...], Action, str], ...] = (*ACTIONS, *OUR_ACTIONS)
    for words, action, text in actions:
        add(*words, dest="actions", action="append_const", const=action, help=text)
    add(*JSON[0], dest="json", action="store_true", help=JSON[1])
    add("-s", dest="service", help=argparse.SUPPRESS)  # Windows only; the reference swallows it elsewhere
    return parser


def usage() -> str:
    """The text of --help."""
    return _parser().format_help()


def parse(argv: Sequence[str]) -> Given:
    """Read the words after the program's name. Raises ConfigError for an unknown or incomplete option."""
    words = list(argv)
    if "--" in words:
        del words[words.index("--") :]
    found, others = _parser().parse_known_args(_attach_bare(map(_expand, words)))
    unknown = [word for word in others if word.startswith("-") and word != "-"]
    if unknown:
        raise ConfigError(f"unrecognized option '{unknown[0]}'{_hint(unknown[0])}; try '{PROGRAM} --help'")
    texts = {option.key: getattr(found, option.key) or [] for option in OPTIONS}
    action = _action(found.actions or [], texts)
    if action is Action.RUN and found.request is not None:
        action = Action.EXPLAIN
    return Given(action, found.config, texts, found.request or "", found.json)


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
    """Attach the value meant by an option given bare: argparse would take the next word for it."""
    flags = [flag for option in OPTIONS if option.kind is BOOL for flag in option.flags]
    flags += [flag for row in ACTIONS for flag in row[0]]
    switches = "".join(flag[1] for flag in flags if not flag.startswith("--"))

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


def _hint(word: str) -> str:
    name = word.lstrip("-").partition("=")[0]
    if name in GONE:
        return f": it is gone, use --{GONE[name]}"
    names = [flag[2:] for option in OPTIONS for flag in option.flags if flag.startswith("--")]
    close = get_close_matches(name, names, n=1)
    return f" (did you mean '--{close[0]}'?)" if close else ""
