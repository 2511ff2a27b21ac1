"""The man page of qga: made from what it documents, and sound."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from qga.protocol import schema
from qga.tool import exits, subcommands
from tests import manual
from tests.client_source import definitions


def test_it_is_up_to_date() -> None:
    assert manual.PAGE.read_text() == manual.page(), "run: make client"
    assert manual.AGENTS_PAGE.read_text() == manual.agents_page(), "run: make client"


def test_it_has_every_command_option_and_status() -> None:
    text = manual.page().replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
    for name in [*subcommands.COMMANDS, *schema.load().commands]:
        assert f"\n.SS {name}" in text
    for command in subcommands.COMMANDS.values():
        for argument in command.arguments:
            assert not argument.names[0].startswith("-") or ", ".join(argument.names) in text
    for status in exits.MEANING:
        assert f"\n.TP\n{status}\n" in text


def test_it_says_what_every_member_of_the_schema_means() -> None:
    text = manual.page().replace("\\-", "-").replace("\\e", "\\")
    for entry in definitions():
        for doc in entry.get("members", {}).values():
            assert f"\n{doc}" in text, (entry, doc)


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_nothing_to_say() -> None:
    pages = [manual.PAGE, manual.AGENTS_PAGE]
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", *pages], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
