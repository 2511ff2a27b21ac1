"""Imports go downward only. The house's plan, as a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import qga

PACKAGE = Path(qga.__file__).parent

# From the bottom up; a module may import from lower rows, and from its own row where the row says so.
LAYERS: list[tuple[set[str], bool]] = [
    (
        {
            "errors",
            "options",
            "keyfile",
            "config",
            "cmdline",
            "log",
            "devlog",
            "pidfile",
            "numbers",
            "statefile",
            "spelling",
            "conffile",
        },
        True,
    ),
    ({"wire", "dialect", "literals", "validate", "systemd"}, True),
    ({"schema", "sinks"}, False),
    ({"patterns", "rules", "settings"}, True),
    ({"filesink", "journal", "backlog"}, False),
    ({"loop", "linux", "waiting"}, True),
    ({"recorder"}, False),
    ({"marker", "freeze"}, True),
    ({"policy", "files", "b64", "allocator"}, False),
    ({"redaction"}, False),
    ({"audit"}, False),
    ({"processes"}, True),
    ({"execs"}, False),
    ({"context"}, False),
    ({"commands"}, False),
    ({"binding"}, False),
    ({"dispatch"}, False),
    ({"session", "review"}, False),
    ({"channel"}, True),
    ({"agent", "daemonize", "explain", "unit"}, False),
    ({"checkup"}, True),
    ({"cli", "__main__"}, True),
]
RANK = {name: rank for rank, (names, _) in enumerate(LAYERS) for name in names}
WITHIN = {name: within for names, within in LAYERS for name in names}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The modules of this project that a file imports: {"linux.host", "errors"}."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "qga":
            inner = node.module.removeprefix("qga").lstrip(".")
            names = {alias.name for alias in node.names}
            found |= {inner} if inner else names - {"__version__"}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("qga.") for a in node.names if a.name.startswith("qga.")}
    return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if room(path) not in ("__init__", "client", "testing")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward(path: Path) -> None:
    here = room(path)
    assert here in RANK, f"{here} has no layer: give it one"
    for module in imports(path):
        there = module.split(".")[0]
        assert RANK[there] < RANK[here] or (RANK[there] == RANK[here] and WITHIN[here]), f"{here} imports {module}"


CLIENT = sorted((PACKAGE / "client").rglob("*.py"))


@pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.name)
def test_the_client_shares_only_schema_wire_and_errors_with_the_agent(path: Path) -> None:
    shared = {module.split(".")[0] for module in imports(path)} - {"client"}
    assert shared <= {"schema", "wire", "errors"}


def test_only_processes_and_daemonize_fork() -> None:
    forking = {
        room(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("fork", "posix_spawn", "forkpty", "system", "popen"))
        or (isinstance(node, ast.Import) and any(alias.name in ("subprocess", "threading") for alias in node.names))
    }
    assert forking == {"processes", "daemonize"}
