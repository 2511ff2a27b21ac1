"""The command line: turns argv into the texts that were given for each option in the table of options.

The rule it keeps: it parses words, not values; qga.agent.config parses the texts, in the order given.

It accepts what getopt_long(3) accepts: unambiguous abbreviations of long options, bundled short options, a value in
the next word whatever it looks like, and words that are not options anywhere. Such words are ignored, as in QEMU's
agent, but never silently; $POSIXLY_CORRECT does not make them end the options, as all options after them would be
lost. (Python's getopt module does not support options with an optional value.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qga.agent.config.options import (
    ACTIONS,
    BOOL,
    CONFIG_FILE,
    EXPLAIN,
    JSON,
    NAMES,
    OPTIONS,
    OUR_ACTIONS,
    REMOVED,
    Action,
    ConfigError,
)
from qga.agent.spelling import may_restrict, similar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "qemu-ga"
LIST_WORDS = ("help", "?")

_ROWS = {flag: option for option in OPTIONS for flag in option.flags}
_ALL_ACTIONS = (*ACTIONS, *OUR_ACTIONS)
_ACTIONS = {flag: action for flags, action, _ in _ALL_ACTIONS for flag in flags}
_VALUED = {flag for flag, option in _ROWS.items() if option.kind is not BOOL} | {*CONFIG_FILE[0], *EXPLAIN[0], "-s"}
# -s is for Windows: QEMU's agent ignores it elsewhere.
_FLAGS = (*_ROWS, *_ACTIONS, *CONFIG_FILE[0], *EXPLAIN[0], *JSON[0], "-s")
_BARE = {flag: option.bare for flag, option in _ROWS.items() if option.bare is not None}
_LONG = [flag for flag in _FLAGS if flag.startswith("--")]
# An abbreviation that is unique among QEMU's options keeps its meaning: no option of ours makes it ambiguous.
_REFERENCE = [flag for option in OPTIONS if not option.ours for flag in option.flags]
_REFERENCE += [flag for flags, action, _ in ACTIONS if action is not Action.CHECK for flag in flags]
_REFERENCE += CONFIG_FILE[0]

_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212"  # hyphens, and what word processors replace them with
_SIMILAR = 0.75  # how similar to an option's name a word must be to count as mistyped; difflib's ratio


class Given(NamedTuple):
    """The content of a command line; ``texts`` has the unparsed values of each option, by key, in the order given.

    ``config_path`` is None if -c was not given; ``request`` is the value of --explain. ``warnings`` report the words
    that are ignored.
    """

    action: Action
    config_path: str | None
    texts: dict[str, list[str]]
    request: str = ""
    json: bool = False
    warnings: tuple[str, ...] = ()


def entries() -> list[tuple[str, str]]:
    """Return each option as it is given, with what it does."""
    rows = [(_spelled(option.flags, option.metavar, option.bare), option.help) for option in OPTIONS]
    rows += [(_spelled(*row[:2]), row[2]) for row in (CONFIG_FILE, EXPLAIN)]
    rows += [(_spelled(flags), text) for flags, _, text in _ALL_ACTIONS]
    return [*rows, (_spelled(JSON[0]), JSON[1])]


def usage() -> str:
    """Return the text of --help."""
    import textwrap

    lines = [
        f"usage: {PROGRAM} [-m METHOD -p PATH] [options]",
        "",
        "The guest agent: carries out requests from the host.",
        "",
    ]
    for spelled, text in entries():
        lines.append(f"  {spelled}")
        lines += textwrap.wrap(text, 78, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines) + "\n"


def _spelled(flags: tuple[str, ...], metavar: str = "", bare: str | None = None) -> str:
    """Return an option as --help shows it, for example "-m, --method METHOD"."""
    if not metavar:
        return ", ".join(flags)
    if bare is not None:
        return ", ".join(f"{flag}[{'=' * flag.startswith('--')}{metavar}]" for flag in flags)
    return f"{', '.join(flags)} {metavar}"


def parse(argv: Sequence[str]) -> Given:
    """Parse the words after the program's name. Raises ConfigError."""
    texts: dict[str, list[str]] = {option.key: [] for option in OPTIONS}
    actions, stray, config_path, request, json = [], [], None, None, False
    for flag, text in _scan(argv):
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
        elif not flag:
            stray.append(text)
    action = _action(actions, texts)
    if action is Action.RUN and request is not None:
        action = Action.EXPLAIN
    if action not in (Action.HELP, Action.VERSION, Action.LIST_COMMANDS):
        _refuse_lost(texts, stray)
    ignored = tuple(f"{word!r} on the command line is ignored: it is not an option" for word in stray)
    return Given(action, config_path, texts, request or "", json, ignored)


def _scan(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option's full name with its value or ""; for a word that is not an option, "" and the word.

    Raises ConfigError for an unknown option, a missing value, or a value that the option does not take.
    """
    words = iter(argv)
    for word in words:
        if word == "--":
            yield from (("", stray) for stray in words)
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            flag = _in_full(name)
            if equals and flag not in _VALUED:
                raise _wrong(f"option {flag} must not have an argument")
            yield flag, value if equals else _value(flag, words)
        elif word.startswith("-") and word != "-":
            for at, letter in enumerate(word[1:], 2):
                flag = f"-{letter}"
                if flag not in _FLAGS:
                    raise _wrong(f"option {flag} not recognized")
                rest = word[at:] if flag in _VALUED else ""
                yield flag, rest or _value(flag, words)
                if rest:
                    break
        else:
            yield "", word


def _value(flag: str, words: Iterator[str]) -> str:
    """Return the value of an option without an attached one: the next word, if it needs one. Raises ConfigError."""
    if flag not in _VALUED or flag in _BARE:
        return _BARE.get(flag, "")
    value = next(words, None)
    if value is None:
        raise _wrong(f"option {flag} requires argument")
    return value


def _in_full(name: str) -> str:
    """Return the long option that ``name`` is or abbreviates. Raises ConfigError."""
    if name in _LONG:
        return name
    close = [flag for flag in _LONG if flag.startswith(name)]
    of_qemu = [flag for flag in close if flag in _REFERENCE]
    if len(of_qemu) == 1 or len(close) == 1:
        return (of_qemu if len(of_qemu) == 1 else close)[0]
    if close:
        raise _wrong(f"option {name} not a unique prefix (did you mean {' or '.join(close)}?)")
    if name[2:] in REMOVED:
        raise _wrong(f"option {name} not recognized: it was removed, use --{REMOVED[name[2:]]}")
    likely = similar(name, _LONG)
    raise _wrong(f"option {name} not recognized" + (f" (did you mean {likely}?)" if likely else ""))


def _wrong(text: str) -> ConfigError:
    return ConfigError(f"{text}; try '{PROGRAM} --help'")


def _refuse_lost(texts: dict[str, list[str]], stray: Sequence[str]) -> None:
    """Raise ConfigError if an ignored word or value may be meant to restrict something."""
    names = [flag.lstrip("-") for flag in _LONG]
    problems = []
    for word in stray:
        name = word.lstrip(_DASHES).partition("=")[0]
        if word.startswith("guest-"):
            problems.append(f"{word!r} is not an option: names in a list are separated by ',' without spaces")
        elif "/" not in name and (likely := similar(name, names, _SIMILAR)):
            problems.append(f"{word!r} is not an option (did you mean --{likely}?)")
        elif "/" not in name and may_restrict(name):
            problems.append(f"{word!r} is not an option, and may be meant to restrict something")
    for option in OPTIONS:  # for QEMU's own options the last value counts, as in QEMU's agent
        given = texts[option.key]
        if option.ours and not option.kind.add_up and len(set(given)) > 1:
            shown = " and ".join(map(repr, given))
            problems.append(f"option {option.flags[-1]} is given as {shown}: expected one of them")
    if problems:
        raise ConfigError(*problems)


def _action(actions: Sequence[Action], texts: dict[str, list[str]]) -> Action:
    """Return what to do: --help and --version come first, then 'help' as a list, then what needs the file."""
    for action in actions:
        if action in (Action.HELP, Action.VERSION):
            return action
    lists = [text for option in OPTIONS if option.kind is NAMES for text in texts[option.key]]
    if any(text in LIST_WORDS for text in lists):
        return Action.LIST_COMMANDS
    return actions[0] if actions else Action.RUN
