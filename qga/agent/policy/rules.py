"""The reader of a policy file: finds the rules that decide each command, and the line of each rule.

The rule it keeps: the file is accepted as a whole or not at all. An unknown key, command, argument or pattern is a
PolicyError that says where it is and what was expected. Nothing is allowed just because it was not understood.

The file is TOML: ``default``, and a list of ``[[rule]]``; the first rule that matches decides.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qga.agent.policy import patterns
from qga.agent.policy.patterns import Constraint, PatternError
from qga.agent.spelling import hint
from qga.protocol import resources
from qga.protocol.schema import Command

if sys.version_info >= (3, 11):
    import tomllib
else:
    try:
        import tomli as tomllib
    except ImportError:
        tomllib = None

_VERDICTS = ("allow", "deny")
_AT_LINE = re.compile(r"(.*) \(at line (\d+), column \d+\)", re.DOTALL)
_RULE = re.compile(r"\s*\[\[\s*(rule|\"rule\"|'rule')\s*\]\]")


# Arguments that the host chooses freely if a rule that allows programs does not mention them.
_LEFT_OPEN = {
    "env": "without env the host chooses the program's environment; env = [] is none",
    "input-data": "without input-data the host chooses what the program reads, and a shell or an interpreter runs "
    "that; input-data = [] is nothing",
}


class PolicyError(Exception):
    """The policy is not valid; its arguments are a text for each problem."""

    @property
    def problems(self) -> tuple[str, ...]:
        """A text for each problem: file, line, what is wrong and what was expected."""
        return self.args

    def __str__(self) -> str:
        return "; ".join(self.problems)


@dataclass(frozen=True)
class Rule:
    """A rule. ``constraints`` are those of the arguments, by name; ``where`` is its file, line and first words."""

    allow: bool
    where: str
    constraints: Mapping[str, Constraint]

    def matches(self, arguments: Mapping[str, object], defaults: Mapping[str, object]) -> bool:
        """Return whether the arguments meet all constraints; ``defaults`` replace arguments that were not given."""
        return all(
            met(value if (value := arguments.get(name)) is not None else defaults.get(name))
            for name, met in self.constraints.items()
        )


@dataclass(frozen=True)
class Rules:
    """A whole policy: ``chains`` has, for each command, the rules that may decide it, in order.

    The last rule of each chain has no constraints. ``warnings`` are lines for the log.
    """

    chains: Mapping[str, tuple[Rule, ...]]
    warnings: tuple[str, ...] = ()


def profile(name: str) -> str:
    """Return the path of the policy file of a profile."""
    return os.path.join(os.path.dirname(__file__), "profiles", f"{name}.toml")


def load(path: str, commands: Mapping[str, Command]) -> Rules:
    """Read a policy file. Raises PolicyError."""
    if tomllib is None:
        raise PolicyError(f"cannot read policy {path}: it takes Python 3.11, or the module tomli")
    try:
        source = resources.read(path).decode()
        return _Reader(path, source, commands).rules()
    except OSError as error:
        raise PolicyError(f"cannot read policy {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PolicyError(f"{path}, line {line}: expected UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.fullmatch(str(error))
        line = int(found[2]) if found else source.count("\n") + 1
        raise PolicyError(f"{path}, line {line}: expected TOML: {found[1] if found else error}") from None
    except (ValueError, RecursionError) as error:  # a number with thousands of digits, or brackets nested too deeply
        raise PolicyError(f"{path}: expected TOML that can be read: {error}") from None


class _Reader:
    """The reader of one file. It continues after a problem, so that it reports all of them."""

    def __init__(self, path: str, source: str, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._content: dict[str, Any] = tomllib.loads(source)
        self._lines = source.splitlines()
        starts = [number for number, line in enumerate(self._lines) if _RULE.match(line)]
        listed = self._content.get("rule", [])
        self._listed = listed if isinstance(listed, list) else [listed]
        self._starts = (
            starts if len(starts) == len(self._listed) else []
        )  # if the rules are written in another TOML form, their lines are not known
        self._commands = commands
        self._problems: list[str] = []
        self._warnings: list[str] = []

    def rules(self) -> Rules:
        """Return the policy that the file describes. Raises PolicyError with all problems."""
        for key in self._content:
            if key not in ("default", "rule"):
                self._problem(None, key, f"unknown key {key!r}, expected default or [[rule]]")
        default = self._content.get("default")
        if default not in _VERDICTS:
            said = "no default" if default is None else f"default = {default!r}"
            self._problem(None, "default", f'{said}: expected default = "deny" or "allow"')
        if not isinstance(self._content.get("rule", []), list) or not all(isinstance(r, dict) for r in self._listed):
            self._problem(None, "rule", "expected rules as [[rule]]")
            raise PolicyError(*self._problems)
        read = [self._rule(number, rule) for number, rule in enumerate(self._listed)]
        if self._problems:
            raise PolicyError(*self._problems)
        end = Rule(default == "allow", f'{self._where(None, "default")}: default = "{default}"', {})
        chains = {name: _chain([rule for names, rule in read if name in names], end) for name in self._commands}
        for _, rule in read:
            if not any(rule in chain for chain in chains.values()):
                self._warnings.append(f"{rule.where}: never decides, for rules above it do")
        for command in self._commands.values():
            chain = chains[command.name]
            if command.follows is not None and chain[-1] is end and not any(rule.allow for rule in chain):
                chains[command.name] = (*chain[:-1], _follow(command.follows, chains[command.follows]))
        return Rules(chains, tuple(self._warnings))

    def _rule(self, number: int, entry: Mapping[str, Any]) -> tuple[list[str], Rule]:
        """Return the names of the commands that a rule applies to, and the rule."""
        verdicts = [key for key in _VERDICTS if key in entry]
        verdict = verdicts[0] if len(verdicts) == 1 else ""
        globs = entry.get(verdict)
        names: list[str] = []
        if not verdict:
            self._problem(number, "".join(verdicts[:1]), "expected a rule with either allow or deny")
        elif not isinstance(globs, list) or not globs:
            self._problem(number, verdict, f"{verdict}: expected a list of commands, not {globs!r}")
        else:
            names = sorted({name for glob in globs for name in self._names(number, verdict, glob)})
        allow = verdict == "allow"
        constraints = {
            key: self._constraint(number, key, value, names, allow)
            for key, value in entry.items()
            if names and key != verdict
        }
        where = self._where(number, verdict)
        if names:
            where += f": {verdict} {', '.join(map(str, globs or ()))}"
        programs = {self._commands[name].program for name in names} - {None}
        if allow and programs & constraints.keys():
            self._warnings += [f"{where}: {what}" for key, what in _LEFT_OPEN.items() if key not in constraints]
        return names, Rule(allow, where, constraints)

    def _names(self, number: int, verdict: str, glob: object) -> list[str]:
        names = patterns.command_names(glob, self._commands) if isinstance(glob, str) else []
        if not names:
            text = f"{glob!r} is not a command{hint(str(glob), self._commands)}, 'qemu-ga -b help' lists them"
            self._problem(number, verdict, f"{verdict}: {text}")
        return names

    def _constraint(self, number: int, key: str, value: object, names: list[str], allow: bool) -> Constraint:
        """Return the constraint for one argument, which every command of the rule must accept."""
        made: Constraint = bool
        for name in names:
            command = self._commands[name]
            try:
                if key == "default":
                    raise PatternError("expected above the first [[rule]]")
                if key not in command.members:
                    known = ", ".join(command.members) or "none"
                    raise PatternError(
                        f"{name} has no such argument, expected one that all its commands have ({known})"
                    )
                if key in (command.file, command.program):
                    made = patterns.paths(value, through_links=not allow)
                    self._warn_of_links(number, key, value, allow)
                else:
                    shape = command.arguments["properties"][key]
                    _check_words(shape, value)
                    made = patterns.constraint(shape, value)
                    if allow and command.program and key == "arg":
                        self._warn_of_options(number, value)
            except PatternError as error:
                self._problem(number, key, f"{key}: {error}")
                break
        return made

    def _warn_of_links(self, number: int, key: str, value: Any, allow: bool) -> None:
        for pattern in value:
            real = patterns.real_pattern(pattern)
            if allow and real != pattern:
                where = f"{self._where(number, key)}: {key}: {pattern!r}"
                self._warnings.append(f"{where} leads through a symbolic link and matches no file, expected {real!r}")

    def _warn_of_options(self, number: int, lists: Any) -> None:
        for elements in lists:
            if any(element.startswith("*") and "--" not in elements[:at] for at, element in enumerate(elements)):
                where = f"{self._where(number, 'arg')}: arg: {elements!r}"
                self._warnings.append(f"{where}: '*' also matches options, expected '--' before it if it ends them")

    def _problem(self, rule: int | None, key: str, text: str) -> None:
        self._problems.append(f"{self._where(rule, key)}: {text}")

    def _where(self, rule: int | None, key: str) -> str:
        """Return the file and line of a key, in the rule with this number or, for None, outside all rules.

        If the key is not found, it is the line of the rule; if that is not known either, the number of the rule.
        """
        if rule is not None and not self._starts:
            return f"{self._path}, rule {rule + 1}"
        first = 0 if rule is None else self._starts[rule]
        last = next((start for start in self._starts if start > first), len(self._lines))
        spelled = re.compile(rf"\s*[\[\s]*[\"']?{re.escape(key)}[\"']?\s*[=\]]")
        line = next((at for at in range(first, last) if key and spelled.match(self._lines[at])), first)
        return f"{self._path}, line {line + 1}"


def _check_words(shape: Mapping[str, Any], value: object) -> None:
    """Raise PatternError if an argument is an enum and a text in the policy matches none of its words.

    No request would ever match such a text, so a rule that denies it would deny nothing.
    """
    texts = [branch for branch in shape.get("anyOf", [shape]) if branch.get("type") == "string"]
    if not texts or not all("enum" in branch for branch in texts) or not isinstance(value, list):
        return
    words = [word for branch in texts for word in branch["enum"]]
    for text in value:
        if isinstance(text, str) and not patterns.command_names(text, words):
            raise PatternError(f"{text!r} is none of {', '.join(words)}{hint(text, words)}")


def _chain(rules: list[Rule], end: Rule) -> tuple[Rule, ...]:
    """Return the rules up to the first that always matches; ``end`` is added as the last one."""
    chain: list[Rule] = []
    for rule in (*rules, end):
        chain.append(rule)
        if not rule.constraints:
            break
    return tuple(chain)


def _follow(opening: str, chain: tuple[Rule, ...]) -> Rule:
    """Return the rule for a command that takes a handle or pid: allowed if ``opening`` can be allowed at all."""
    decided = next((rule for rule in chain if rule.allow), chain[-1])
    return Rule(decided.allow, f"{decided.where} (this command follows {opening})", {})
