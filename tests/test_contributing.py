"""CONTRIBUTING's example of a command, carried out as it is written there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qga.agent.commands import system
from qga.agent.context import Context
from qga.agent.linux.host import Host
from qga.protocol import schema
from qga.protocol.errors import CommandError
from tests.conftest import executor, failed, write
from tests.repository import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```\n<!-- /{name} -->", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_a_command_in_two_places(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definitions = tmp_path / "schema"
    shutil.copytree(schema.directory(), definitions)
    area = definitions / "system.json"
    area.write_text(json.dumps([*json.loads(area.read_text()), json.loads(block("entry"))]))
    names: dict[str, Any] = {
        "Context": Context,
        "CommandError": CommandError,
        "Execute": Callable,
        "Host": Host,
        "write": write,
    }
    exec(block("handler"), names)
    monkeypatch.setattr(system, "guest_get_uptime", names["guest_get_uptime"], raising=False)

    execute = executor(host, schema.load(str(definitions)))
    listed = execute("guest-info")["return"]["supported_commands"]
    assert {"name": "guest-get-uptime", "enabled": True, "success-response": True} in listed
    assert execute("guest-get-uptime") == failed("failed to read /proc/uptime: No such file or directory")
    exec(block("test"), names)
    names["test_uptime"](host, execute)
