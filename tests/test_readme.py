"""README says what the code does, where that can be compared."""

from __future__ import annotations

import re

from qga.agent.config import options
from qga.protocol import schema
from tests.repository import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


def test_options_table_matches_the_code() -> None:
    shown = re.search(r"<!-- options -->\n(.*?)<!-- /options -->", README, re.S)
    assert shown is not None
    assert shown[1].strip() == options.markdown().strip()


def test_every_command_is_listed() -> None:
    listed = README[README.index("## Commands") : README.index("## Options")]
    for name in schema.load().commands:
        assert name in listed or f"`-{name.split('-', 2)[-1]}`" in listed, name
