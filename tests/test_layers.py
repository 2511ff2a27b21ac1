"""The layering as a test: which package may import which. Imports in functions and for type checkers count too."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import pytest

from tests.repository import REPOSITORY

# The rooms, and what each may know beside itself.
ROOMS = {
    "protocol": set(),
    "agent": {"protocol"},
    "client": {"protocol"},
    "testing": {"protocol", "agent"},
    "tool": {"protocol", "client"},
}

# Inside the agent, from the bottom up: a row may import from those below it.
AGENT = [
    {"loop", "tasks", "spelling"},
    {"linux"},
    {"processes", "policy"},
    {"config"},
    {"service", "state", "call"},
    {"audit"},
    {"context"},
    {"commands"},
    {"binding"},
    {"admission"},
    {"dispatch", "review"},
    {"session"},
    {"channel"},
    {"app", "selftest"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, row in enumerate(AGENT) for name in row}


def name_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


FILES = {
    name_of(str(path.relative_to(REPOSITORY))): ast.parse(path.read_text())
    for path in sorted((REPOSITORY / "qga").rglob("*.py"))
}


def imports(module: str) -> set[str]:
    """The modules of this project that one imports; not the package ``qga`` itself, which has the version only."""
    found = set()
    for node in ast.walk(FILES[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & set(FILES)) - {module, "qga"}


def part(module: str, number: int) -> str:
    return ([*module.split("."), "", ""])[number]


@pytest.mark.parametrize("module", FILES)
def test_imports_go_downward(module: str) -> None:
    here = part(module, 1)
    if module in ("qga", "qga.__main__"):
        return
    for name in imports(module):
        there = part(name, 1)
        assert there == here or there in ROOMS[here], f"{module} imports {name}"
        if there == here == "agent" and (mine := part(module, 2)) != (its := part(name, 2)):
            assert RANK[its] < RANK[mine], f"{module} imports {name}"


def test_the_architecture_page_shows_the_same_layers() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    arrows = {tuple(pair) for pair in re.findall(r"^ +(\w+) --> (\w+)$", page, re.MULTILINE)}
    assert arrows == {(room, known) for room, others in ROOMS.items() for known in others}
    rows = re.findall(r"^\| \d+ \| (.*) \|$", page, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in reversed(rows)] == AGENT


def test_no_import_cycles() -> None:
    TopologicalSorter({module: imports(module) for module in FILES}).prepare()


def test_only_processes_and_daemonize_fork() -> None:
    forking = {
        ".".join(module.split(".")[2:4])
        for module, tree in FILES.items()
        if part(module, 1) == "agent"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("fork", "posix_spawn", "forkpty", "system", "popen"))
        or (isinstance(node, ast.Import) and any(alias.name in ("subprocess", "threading") for alias in node.names))
    }
    assert {name.split(".")[0] for name in forking} == {"processes", "service"}
    assert [name for name in forking if name.startswith("service")] == ["service.daemonize"]
