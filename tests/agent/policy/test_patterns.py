"""What a pattern of a policy matches, and what is not a valid pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from qga.agent.policy import patterns
from qga.agent.policy.patterns import PatternError

TEXTS = {"type": "array", "items": {"type": "string"}}
TEXT = {"type": "string"}
INT = {"type": "integer"}
MIXED = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["merged"]}]}


@pytest.mark.parametrize(
    ("pattern", "path", "met"),
    [
        ("/var/log/**", "/var/log/syslog", True),
        ("/var/log/**", "/var/log/a/b/c", True),
        ("/var/log/**", "/var/log", False),
        ("/var/log/**", "/var/logs/x", False),
        ("/var/log/**", "/var/log.old", False),
        ("/tmp", "/tmpevil", False),
        ("/tmp", "/tmp", True),
        ("/tmp/*", "/tmp/a", True),
        ("/tmp/*", "/tmp/.hidden", True),
        ("/tmp/*", "/tmp/a/b", False),
        ("/tmp/*", "/tmp", False),
        ("/home/*/.ssh/id_*.pub", "/home/u/.ssh/id_rsa.pub", True),
        ("/home/*/.ssh/id_*.pub", "/home/u/v/.ssh/id_rsa.pub", False),
        ("/home/*/.ssh/id_*.pub", "/home/u/.ssh/id_a/b.pub", False),
        ("/a/**/z", "/a/z", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/a/**/z", "/a/bz", False),
        ("/a/**/z", "/az", False),
        ("/a/**/z", "/a/z/y", False),
        ("/**", "/x", True),
        ("/**", "/x/y", True),
        ("/**", "/", False),
        ("/", "/", True),
        ("/", "/x", False),
        ("/usr/bin/systemctl", "/usr/bin/systemctlx", False),
        ("/a.c", "/abc", False),  # nothing but * is special
        ("/a?", "/ab", False),
        ("/[ab]", "/a", False),
        ("/[ab]", "/[ab]", True),
        ("/a*", "/a\nb", True),  # a file may have any name
        ("/a", "/a\n", False),
        ("/e\u0301", "/\u00e9", False),  # to the kernel they are two names
        ("/e\u0301", "/e\u0301", True),
        ("/x*", "/x\udcff", True),  # no UTF-8
        ("/var/log/**", None, False),
        ("/**", None, False),
    ],
)
@pytest.mark.parametrize("through_links", [False, True])
def test_paths(pattern: str, path: str | None, met: bool, through_links: bool) -> None:
    assert bool(patterns.paths([pattern], through_links=through_links)(path)) == met


def test_a_forbidden_path_is_forbidden_through_links_in_its_prefix(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    pattern = f"{tmp_path}/link/x*"
    real = f"{tmp_path}/real/xy"
    assert patterns.real_pattern(pattern) == f"{tmp_path}/real/x*"
    assert not patterns.paths([pattern], through_links=False)(real)
    assert patterns.paths([pattern], through_links=True)(real)
    assert patterns.paths([pattern], through_links=True)(f"{tmp_path}/link/xy")


@pytest.mark.parametrize("pattern", ["/", "/*", "/**", "/*/x", "/usr/bin/x*y/*", "/usr/x"])
def test_a_pattern_without_links_stays_as_it_is(pattern: str) -> None:
    assert patterns.real_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "bad", ["", "x", "x/y", "*", "/a/", "//a", "/a/./b", "/a/../b", "/a**", "/**b/c", "/a\0", 5, ["/a"], None]
)
def test_invalid_path_patterns(bad: object) -> None:
    with pytest.raises(PatternError, match="expected"):
        patterns.paths([bad], through_links=False)


@pytest.mark.parametrize("bad", ["/a", [], {}, None, 5])
def test_invalid_lists_of_paths(bad: object) -> None:
    with pytest.raises(PatternError, match="expected a list of paths"):
        patterns.paths(bad, through_links=False)


@pytest.mark.parametrize(
    ("allowed", "value", "met"),
    [
        ([["update"]], ["update"], True),
        ([["update"]], ["update", "-y"], False),
        ([["update"]], [], False),
        ([["update"]], None, False),
        ([["update"], ["install", "-y", "*"]], ["install", "-y", "vim"], True),
        ([["update"], ["install", "-y", "*"]], ["install", "-y"], False),
        ([["update"], ["install", "-y", "*"]], ["install", "-y", "vim", "x"], False),
        ([["install", "**"]], ["install"], True),
        ([["install", "**"]], ["install", "a", "b"], True),
        ([["install", "**"]], ["remove", "a"], False),
        ([["**"]], [], True),
        ([["**"]], None, True),
        ([["**"]], ["x"], True),
        ([["--mode=*"]], ["--mode=x y"], True),
        ([["--mode=*"]], ["x--mode=y"], False),
        ([["a b"]], ["a", "b"], False),  # element by element, never one text
        ([["a", "b"]], ["a b"], False),
        ([["*"]], ["a\nb"], True),
        ([["update"]], ["update\n"], False),
        ([["UPDATE"]], ["update"], False),
        ([], [], True),
        ([], None, True),
        ([], ["A=b"], False),
        ([], [""], False),
        ([[]], None, True),
        ([["LANG=*"], []], None, True),
    ],
)
def test_lists(allowed: object, value: object, met: bool) -> None:
    assert patterns.constraint(TEXTS, allowed)(value) == met


@pytest.mark.parametrize("bad", ["update", ["update"], [["update", 5]], [["**", "x"]], {"a": 1}, 5])
def test_invalid_lists_of_lists(bad: object) -> None:
    with pytest.raises(PatternError, match="expected"):
        patterns.constraint(TEXTS, bad)


@pytest.mark.parametrize(
    ("shape", "allowed", "value", "met"),
    [
        (TEXT, ["r", "rb"], "r", True),
        (TEXT, ["r", "rb"], "r+", False),
        (TEXT, ["r", "rb"], None, False),
        (TEXT, ["vm-*"], "vm-1", True),
        (TEXT, ["root"], "root ", False),
        (TEXT, [], None, True),
        (TEXT, [], "", False),
        (INT, [0, 7], 7, True),
        (INT, [0, 7], 1, False),
        (INT, [1], True, False),
        (INT, [], 0, False),
        (MIXED, [True, "m*"], True, True),
        (MIXED, [True, "m*"], "merged", True),
        (MIXED, [True, "m*"], False, False),
        (MIXED, [True], 1, False),
    ],
)
def test_scalars(shape: dict[str, object], allowed: object, value: object, met: bool) -> None:
    assert patterns.constraint(shape, allowed)(value) == met


@pytest.mark.parametrize(
    ("shape", "bad"),
    [
        (TEXT, "r"),
        (TEXT, [5]),
        (TEXT, [["r"]]),
        (TEXT, [None]),
        (INT, ["5"]),
        (INT, [True]),
        (INT, [1.0]),
        (MIXED, [5]),
        ({"type": "array", "items": {"type": "object"}}, []),
    ],
)
def test_invalid_scalars(shape: dict[str, object], bad: object) -> None:
    with pytest.raises(PatternError):
        patterns.constraint(shape, bad)


def test_commands() -> None:
    known = ["guest-sync", "guest-sync-delimited", "guest-exec", "guest-exec-status"]
    assert patterns.command_names("guest-exec", known) == ["guest-exec"]
    assert patterns.command_names("guest-sync*", known) == known[:2]
    assert patterns.command_names("*", known) == known
    assert patterns.command_names("exec", known) == []
