"""State files: any content is read at once or reported as damaged, and never thrown away."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.agent.state import statefile
from qga.agent.state.statefile import DamagedError


def test_a_regular_file_or_none(tmp_path: Path, descriptors: None) -> None:
    path = tmp_path / "state"
    assert statefile.read(str(path)) is None
    path.write_bytes(b"x" * 100)
    assert statefile.read(str(path)) == b"x" * 100
    assert statefile.read(str(path), limit=100) == b"x" * 100
    assert statefile.read(str(path / "below-a-file")) is None
    with pytest.raises(DamagedError, match=r"^has more than 99 bytes$"):
        statefile.read(str(path), limit=99)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("directory", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("link", "is a symbolic link"),
        ("socket", "cannot be read"),
        ("endless", "is not a regular file"),
    ],
)
def test_what_is_not_a_regular_file_is_damage_and_does_not_block(
    tmp_path: Path, kind: str, words: str, monkeypatch: pytest.MonkeyPatch, descriptors: None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = "/dev/zero" if kind == "endless" else "state"
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "directory":
            os.mkdir(path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "link":
            Path("other").write_text("x")
            os.symlink("other", path)
        elif kind == "socket":
            bound.bind(path)
        with pytest.raises(DamagedError, match=words):
            statefile.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b'{"deadline": Infinity}',
        b'{"deadline": NaN}',
        b'{"deadline": 1e400}',
        b'{"deadline": ' + b"9" * 400 + b"}",
        b'{"deadline": ' + b"9" * 5000 + b"}",
    ],
)
def test_json_that_no_agent_writes(content: bytes) -> None:
    with pytest.raises(DamagedError, match="is not the JSON that an agent writes"):
        statefile.parse_json(content)


def test_json_that_an_agent_writes() -> None:
    assert statefile.parse_json(b'{"boot": "x", "deadline": -12.5, "of": [999999999999999999, null]}') == {
        "boot": "x",
        "deadline": -12.5,
        "of": [999_999_999_999_999_999, None],
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_damage(content: bytes) -> None:
    with contextlib.suppress(DamagedError):
        statefile.parse_json(content)


def test_a_bounded_number_of_damaged_files_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state"
    assert not statefile.was_set_aside(str(path))
    for number in range(1, 6):
        path.write_text(str(number))
        name = statefile.set_aside(str(path))
        assert name == f"{path}.damaged-{min(number, 3)}"
    assert not path.exists()
    assert statefile.was_set_aside(str(path))
    assert {name.name: name.read_text() for name in tmp_path.iterdir()} == {
        "state.damaged-1": "1",
        "state.damaged-2": "2",
        "state.damaged-3": "5",
    }
