"""What is generated from the schema and checked in is what the generator makes."""

from __future__ import annotations

import ast
import itertools

import pytest

from qga.client.aio import AsyncClient
from qga.client.client import Client
from qga.client.commands import SILENT
from qga.client.replies import FilesystemInfo, read
from qga.protocol import schema
from tests import client_source

FILESYSTEM = {"name": "vda1", "mountpoint": "/", "type": "ext4", "disk": []}


@pytest.mark.forks
def test_what_is_checked_in_is_what_is_made() -> None:
    for name, text in client_source.files().items():
        assert (client_source.PACKAGE / name).read_text() == text, "run: make client"


def test_every_command_has_its_method() -> None:
    for command in schema.load().commands.values():
        assert callable(getattr(Client, command.function))
        assert callable(getattr(AsyncClient, command.function))
        assert (command.name in SILENT) == (not command.success_response)


def test_every_argument_is_documented_in_its_method() -> None:
    for command in schema.load().commands.values():
        for client in (Client, AsyncClient):
            text = " ".join((getattr(client, command.function).__doc__ or "").split())
            for name, doc in command.argument_docs.items():
                assert f"{name.replace('-', '_')}: {doc}" in text


def test_every_member_of_a_reply_is_documented_at_its_attribute() -> None:
    tree = ast.parse((client_source.PACKAGE / "replies.py").read_text())
    documented = 0
    for reply in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for attribute, after in itertools.pairwise(reply.body):
            if isinstance(attribute, ast.AnnAssign):
                assert isinstance(after, ast.Expr), ast.unparse(attribute)
                documented += 1
    assert documented > 100


def test_unknown_members_are_ignored_and_missing_ones_none() -> None:
    (filesystem,) = read("guest-get-fsinfo", [{**FILESYSTEM, "of-tomorrow": 1}])
    assert filesystem == FilesystemInfo(name="vda1", mountpoint="/", type="ext4", disk=[])
    assert filesystem.used_bytes is None


def test_a_union_of_tomorrow_is_left_out() -> None:
    assert read("guest-get-cpustats", [{"type": "windows", "cpu": 1}]) == []
