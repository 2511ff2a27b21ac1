"""The clients against our agent and Debian's, each a process of its own."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.client import (
    AddressError,
    AgentTimeout,
    AgentUnreachable,
    AsyncClient,
    Client,
    ClientError,
    CommandFailed,
    CommandNotFound,
    OutOfStep,
)
from qga.protocol import schema
from qga.testing import FakeGuest
from tests.client_agents import AGENTS, listening
from tests.repository import REPOSITORY

pytestmark = pytest.mark.forks
LOOKING = [
    name
    for name, command in schema.load().commands.items()
    if name.startswith(("guest-get-", "guest-network-get-")) and not command.arguments.get("required")
]


@pytest.fixture(params=AGENTS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with listening(request.param, tmp_path) as path:
        yield f"unix:{path}"


def test_every_read_only_command_reads_a_real_reply(address: str) -> None:
    with Client(address) as guest:
        supported = {command.name for command in guest.guest_info().supported_commands}
        for name in LOOKING:
            if name not in supported:
                continue
            try:
                raw = guest.call(name)
            except CommandFailed:  # this machine may have no memory blocks, and so on
                continue
            value = getattr(guest, name.replace("-", "_"))()
            if isinstance(raw, list):
                assert len(value) == len(raw)
            else:
                assert value is not None


def test_programs_run_as_by_subprocess(address: str) -> None:
    with Client(address) as guest:
        done = guest.run(["sh", "-c", "cat; echo bad >&2; exit 3"], input=b"\0\xff")
        assert (done.returncode, done.stdout, done.stderr, done.truncated) == (3, b"\0\xff", b"bad\n", False)
        assert guest.run(["sh", "-c", "echo $X"], env={"X": "ä"}, text=True).stdout == "ä\n"
        assert guest.run(["sh", "-c", "kill -9 $$"]).returncode == -9
        assert guest.run(["true"], capture_output=False).stdout is None
        with pytest.raises(subprocess.CalledProcessError):
            guest.run(["false"], check=True)
        with pytest.raises(CommandFailed):
            guest.run(["/does/not/exist"])


def test_a_program_that_takes_too_long_is_killed(address: str, tmp_path: Path) -> None:
    with Client(address) as guest:
        start = time.monotonic()
        with pytest.raises(AgentTimeout, match="sh had not ended after 0\\.3 s"):
            guest.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], timeout=0.3)
        assert time.monotonic() - start < 10
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/exe").exists()


def test_a_file_is_a_file_object(address: str, tmp_path: Path) -> None:
    content = os.urandom(700_001)
    (tmp_path / "a").write_bytes(content)
    with Client(address) as guest:
        with guest.open(f"{tmp_path}/b", "w") as target, (tmp_path / "a").open("rb") as source:
            shutil.copyfileobj(source, io.BufferedWriter(target, 1 << 18))
        with guest.open(f"{tmp_path}/a") as file:
            assert file.read(10) == content[:10]
            assert file.tell() == 10
            assert file.seek(-5, os.SEEK_END) == 700_000 - 4
            assert file.read() == content[-5:]
            with pytest.raises(io.UnsupportedOperation):
                file.truncate(0)
        with pytest.raises(ValueError, match="closed file"):
            file.read(1)
        with tarfile.open(tmp_path / "t.tar", "w") as tar:
            tar.add(tmp_path / "a", "a")
        with guest.open(f"{tmp_path}/t.tar") as file, tarfile.open(fileobj=io.BufferedReader(file)) as tar:
            member = tar.extractfile("a")
            assert member is not None
            assert member.read() == content
    assert (tmp_path / "b").read_bytes() == content


def test_errors_say_what_happened(address: str) -> None:
    with Client(address) as guest:
        with pytest.raises(CommandNotFound, match="does not have this command") as unknown:
            guest.call("guest-of-tomorrow")
        assert not unknown.value.disabled
        with pytest.raises(CommandNotFound, match="does not allow it now") as blocked:
            guest.guest_fsfreeze_freeze()
        assert blocked.value.disabled
        with pytest.raises(CommandFailed, match="No such file") as failed:
            guest.guest_file_open("/does/not/exist")
        assert failed.value.command == "guest-file-open"


def test_asyncio_pipelines(address: str) -> None:
    async def both() -> None:
        async with AsyncClient(address) as guest:
            infos = asyncio.gather(*(guest.guest_info() for _ in range(20)))
            name, among = await asyncio.gather(guest.guest_get_host_name(), infos)
            assert name.host_name == socket.gethostname()
            assert len(among) == 20
            assert (await guest.run(["echo", "hi"], text=True)).stdout == "hi\n"
            with pytest.raises(CommandFailed):
                await guest.guest_file_open("/does/not/exist")

    asyncio.run(both())


def test_asyncio_has_files(address: str, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)

    async def there_and_back() -> None:
        async with AsyncClient(address) as guest:
            async with guest.open(f"{tmp_path}/a", "w+") as file:
                assert await file.write(content) == len(content)
                assert await file.tell() == len(content)
                await file.flush()
                assert await file.seek(-5, os.SEEK_END) == len(content) - 5
                assert await file.read() == content[-5:]
            async with guest.open(f"{tmp_path}/a") as file:
                assert await file.read(10) == content[:10]
                assert b"".join([piece async for piece in file]) == content[10:]
            with pytest.raises(ValueError, match="not open"):
                await file.read(1)
            with pytest.raises(CommandFailed):
                async with guest.open("/does/not/exist"):
                    pass

    asyncio.run(there_and_back())
    assert (tmp_path / "a").read_bytes() == content


def test_what_waits_behind_a_request_that_is_given_up_goes_on(fake_guest: FakeGuest) -> None:
    fake_guest.fault("guest-set-user-password", drop=True, times=2)
    large = {"username": "joe", "password": "x" * 8192, "crypted": True}

    async def there() -> None:
        async with AsyncClient(fake_guest.address) as guest:
            with pytest.raises(AgentTimeout):
                await guest.call_raw("guest-set-user-password", large, timeout=0.3)
            lost = asyncio.create_task(guest.call_raw("guest-set-user-password", large, timeout=0.3))
            await asyncio.sleep(0)
            await guest.guest_ping(timeout=5)
            with pytest.raises(AgentTimeout):
                await lost

    asyncio.run(there())


def test_importing_the_client_is_cheap() -> None:
    heavy = ("asyncio", "serial", "libvirt", "jsonschema", "fastjsonschema", "subprocess")
    code = f"import sys; from qga.client import Client; print(*set({heavy!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_errors_are_of_one_family() -> None:
    for kind in (AddressError, AgentUnreachable, AgentTimeout, OutOfStep, CommandFailed, CommandNotFound):
        assert issubclass(kind, ClientError)


@pytest.mark.parametrize("which", AGENTS)
def test_readmes_example_runs(which: str, tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    example = readme.split("<!-- for programs -->\n```python\n")[1].split("```\n<!-- /for programs -->")[0]
    with listening(which, tmp_path) as path:
        env = {**os.environ, "QGA_CONNECT": f"unix:{path}"}
        done = subprocess.run([sys.executable, "-c", example], env=env, capture_output=True, text=True, check=True)
    assert "Linux\n" in done.stdout
