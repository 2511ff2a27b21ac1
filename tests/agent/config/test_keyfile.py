"""Key-files: text in, entries with their lines out, and complaints that name the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.agent.config.keyfile import Entry, KeyFileError, escape, parse


def test_groups_keys_and_lines() -> None:
    groups = parse(b"# head\n[general]\n  path = /a b \nverbose=1\r\n\n[other]\npath=/x\n")
    assert groups == {
        "general": {"path": Entry("/a b", 3), "verbose": Entry("1", 4)},
        "other": {"path": Entry("/x", 7)},
    }
    assert [group.line for group in groups.values()] == [2, 6]


def test_only_a_line_of_its_own_is_a_comment() -> None:
    assert parse(b"[g]\na=b # c\n")["g"]["a"].string() == "b # c"


def test_an_equals_sign_in_the_value_belongs_to_it() -> None:
    assert parse(b"[g]\na=b=c\n")["g"]["a"].string() == "b=c"


def test_a_byte_order_mark_is_skipped() -> None:
    assert "g" in parse(b"\xef\xbb\xbf[g]\n")


@pytest.mark.parametrize(
    ("data", "line", "text"),
    [
        (b"a=1\n", 1, "before any [group]"),
        (b"[g]\nverbose\n", 2, "neither key=value"),
        (b"[g]\n=1\n", 2, "neither key=value"),
        (b"[g]\n\n; old style\n", 3, "neither key=value"),
        (b"[g\n", 1, "not a group"),
        (b"[]\n", 1, "not a group"),
        (b"[a[b]\n", 1, "not a group"),
        (b"[g]\na=1\nb=1\n a = 2\n", 4, "'a' is given again, first in line 2"),
        (b"[g]\na=1\na=1\n", 3, "'a' is given again, first in line 2"),
        (b"[g]\na=1\n[h]\n[g]\nb=1\n", 4, "[g] is given again, first in line 1"),
    ],
)
def test_a_line_that_is_not_syntax_is_named(data: bytes, line: int, text: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        parse(data)
    assert caught.value.line == line
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "value"), [(rb"\sa\tb\n", " a\tb\n"), (rb"a\\sb", r"a\sb"), (rb"a\r", "a\r"), (b"\xc3\xa4", "ä")]
)
def test_escapes(raw: bytes, value: str) -> None:
    assert parse(b"[g]\na=" + raw)["g"]["a"].string() == value


@pytest.mark.parametrize(
    ("raw", "text"),
    [(rb"a\q", r"unknown escape \q"), (b"a\\", "unknown escape"), (b"\xff", "UTF-8"), (b"a\0b", "NUL")],
)
def test_a_value_that_is_not_text_names_its_line(raw: bytes, text: str) -> None:
    entry = parse(b"[g]\n\na=" + raw + b"\n")["g"]["a"]
    with pytest.raises(KeyFileError, match=r"^line 3: ") as caught:
        entry.string()
    assert text in str(caught.value)


def test_invalid_utf8_matters_only_where_it_is_read() -> None:
    assert parse(b"# \xe4\n[g]\na=\xe4\nb=1\n")["g"]["b"].string() == "1"


@pytest.mark.slow
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_parse_reads_what_escape_writes(value: str) -> None:
    assert parse(f"[g]\nkey={escape(value)}\n".encode())["g"]["key"].string() == value
