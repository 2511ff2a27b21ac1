"""Resolving a path: the file that the kernel finds is held open, and its path is returned without links."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from qga.agent.linux import pathwalk
from qga.agent.linux.execvp import environment, resolve_program
from qga.agent.linux.pathwalk import Target

pytestmark = pytest.mark.usefixtures("descriptors")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").write_text("in a")
    (tmp_path / "a/b/file").write_text("in b")
    (tmp_path / "to-file").symlink_to("a/file")
    (tmp_path / "to-b").symlink_to("a/b")
    (tmp_path / "to-to-b").symlink_to(tmp_path / "to-b")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "dangling").symlink_to("a/new")
    (tmp_path / "nowhere").symlink_to("none/new")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path / "a")
    return tmp_path


def resolved(path: str | bytes) -> tuple[str | None, int | None]:
    """Return the resolved path and the error, one of which is None."""
    target = pathwalk.resolve(path if isinstance(path, bytes) else path.encode())
    target.close()
    return target.path, None if target.error is None else target.error.errno


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("a/file", "a/file"),
        ("a//./file", "a/file"),
        ("a/b/../file", "a/file"),
        ("to-file", "a/file"),
        ("to-b/file", "a/b/file"),
        ("to-to-b/file", "a/b/file"),
        ("to-to-b/../file", "a/file"),  # .. of where the link leads, not of where it stands
        ("a/up/a/up/a/up/to-b", "a/b"),
        ("a/b/", "a/b"),
        ("a/new", "a/new"),
        ("dangling", "a/new"),
        ("a/\u00e4", "a/\u00e4"),
    ],
)
def test_resolved_path(tree: Path, path: str, leads_to: str) -> None:
    assert resolved(f"{tree}/{path}") == (f"{tree}/{leads_to}", None)
    if os.path.exists(tree / path):
        assert os.path.realpath(tree / path) == f"{tree}/{leads_to}"  # as following links by their text gives


@pytest.mark.parametrize(
    ("path", "leads_to", "error"),
    [
        ("a/none/new", "a/none/new", errno.ENOENT),
        ("nowhere", "none/new", errno.ENOENT),
        ("a/none/../file", None, errno.ENOENT),  # what is not there has nothing above it
        ("a/file/", None, errno.ENOTDIR),
        ("a/file/..", None, errno.ENOTDIR),
        ("a/file/x", "a/file/x", errno.ENOTDIR),
        ("loop", None, errno.ELOOP),
        ("a/new/", "a/new", errno.ENOENT),
        ("x" * 300, "x" * 300, errno.ENAMETOOLONG),
    ],
)
def test_paths_that_cannot_be_used(tree: Path, path: str, leads_to: str | None, error: int) -> None:
    assert resolved(f"{tree}/{path}") == (leads_to and f"{tree}/{leads_to}", error)
    with pytest.raises(OSError, match=os.strerror(error)):
        os.stat(tree / path if not path.endswith("/") else f"{tree}/{path}")


def test_relative_paths_start_in_the_working_directory(tree: Path) -> None:
    assert resolved("file") == (f"{tree}/a/file", None)
    assert resolved("../to-b") == (f"{tree}/a/b", None)
    assert resolved("") == (None, errno.ENOENT)


def test_above_the_root_is_the_root() -> None:
    assert resolved("/") == ("/", None)
    assert resolved("//../..") == ("/", None)
    assert resolved("/.././/etc/../etc") == (os.path.realpath("/etc"), None)


def test_magic_links_resolve_to_the_file_they_refer_to(tree: Path) -> None:
    pid = os.getpid()
    assert resolved(f"/proc/self/root{tree}/to-file") == (f"{tree}/a/file", None)
    assert resolved(f"/proc/{pid}/root/{tree}/a/file") == (f"{tree}/a/file", None)
    assert resolved("/proc/self/cwd/file") == (f"{tree}/a/file", None)
    assert resolved("/proc/thread-self/cwd/file") == (f"{tree}/a/file", None)
    with open(tree / "a/file") as file:
        assert resolved(f"/proc/self/fd/{file.fileno()}") == (f"{tree}/a/file", None)
        assert resolved(f"/dev/fd/{file.fileno()}") == (f"{tree}/a/file", None)
    reading, writing = os.pipe()
    path, _ = resolved(f"/proc/self/fd/{reading}")
    assert path is not None
    assert path.startswith(f"/proc/{pid}/fd/pipe:")  # a place where nothing can be
    os.close(reading)
    os.close(writing)


def test_a_name_that_is_not_utf8(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff")).write_text("x")
    assert resolved(os.fsencode(tree) + b"/\xff") == (f"{tree}/\udcff", None)


def test_a_deep_path_runs_out_of_descriptors_and_says_so(tree: Path) -> None:
    path, error = resolved(f"{tree}/" + "a/up/" * 39 + "a/file")
    assert (path, error) == (f"{tree}/a/file", None)
    assert resolved(f"{tree}/" + "a/up/" * 41 + "a/file")[1] == errno.ELOOP


def test_the_resolved_file_is_opened_even_if_links_have_changed(tree: Path) -> None:
    target = pathwalk.resolve(f"{tree}/to-b/file".encode())
    (tree / "to-b").unlink()
    (tree / "to-b").symlink_to("a")
    name, directory = target.place()
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)) as file:
        assert file.read() == "in b"
    (tree / "a/b/file").unlink()
    (tree / "a/b/file").symlink_to("../file")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    with open(target.as_path) as file:  # the file itself
        assert file.read() == "in b"
    target.close()


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def found(name: str, path: str) -> Target:
    target = resolve_program(name.encode(), environment([f"PATH={path}"]))
    target.close()
    return target


def test_programs(tree: Path) -> None:
    program(tree / "a/run")
    program(tree / "a/b/run")
    assert found("run", f"{tree}/none:{tree}/a:{tree}/a/b").path == f"{tree}/a/run"
    assert found("run", f"{tree}/to-b:{tree}/a").path == f"{tree}/a/b/run"
    assert found("run", "").path == f"{tree}/a/run"  # an empty PATH is the working directory
    assert found("../to-b/run", "/none").path == f"{tree}/a/b/run"
    (tree / "a/run").chmod(0o644)
    assert found("run", f"{tree}/a:{tree}/a/b").path == f"{tree}/a/b/run"
    assert found("run", "/none").error is not None
    assert found("run", "/none:/nowhere").error is not None
    assert found("run", "/none:/nowhere").path is None
    refused = found(f"{tree}/a/run", "/none")
    assert refused.error is not None
    assert refused.error.errno == errno.EACCES
    assert found(f"{tree}/a", "").error is not None  # a directory


def test_interpreters_inherit_the_script_they_read(tree: Path) -> None:
    script = pathwalk.resolve(str(program(tree / "run")).encode())
    assert script.for_interpreter() == (script.descriptor,)
    binary = pathwalk.resolve(b"/proc/self/exe")
    assert binary.for_interpreter() == ()
    missing = pathwalk.resolve(b"/none")
    assert missing.for_interpreter() == ()
    missing.close()
    script.close()
    binary.close()
