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
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga import schema
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
    roads,
)
from tests.client_agents import agent

pytestmark = pytest.mark.forks
LOOKING = [
    name
    for name, command in schema.load().commands.items()
    if name.startswith(("guest-get-", "guest-network-get-")) and not command.arguments.get("required")
]


@pytest.fixture(params=["ours", "debian"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "agent.sock"
    with agent(request.param, tmp_path, path=path):
        Client.connect(str(path), wait=10).close()
        yield f"unix:{path}"


def test_every_looking_command_reads_a_real_reply(address: str) -> None:
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


@pytest.fixture(params=["ours", "debian"])
def serial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The client's end of two pseudo-terminals, joined; an agent's isa-serial is on the other."""
    theirs, agents = os.openpty()
    ours, clients = os.openpty()
    for descriptor in (agents, clients):
        tty.setraw(descriptor)
    joiner = subprocess.Popen([sys.executable, "-c", JOIN, str(theirs), str(ours)], pass_fds=(theirs, ours))
    try:
        with agent(request.param, tmp_path, path=os.ttyname(agents), method="isa-serial"):
            yield f"serial:{os.ttyname(clients)}"
    finally:
        joiner.kill()
        joiner.wait()
        for descriptor in (theirs, agents, ours, clients):
            os.close(descriptor)


def test_a_serial_line(serial: str) -> None:
    with Client.connect(serial, wait=15) as guest:
        assert guest.guest_get_host_name().host_name == socket.gethostname()


def test_much_at_once_over_a_serial_line(serial: str, tmp_path: Path) -> None:
    """QEMU's agent leaves answers out where it has read more than it takes at a time."""
    (tmp_path / "a").write_bytes(os.urandom(3 << 20))

    async def there() -> None:
        async with await AsyncClient.connect(serial, wait=15) as guest:
            assert await asyncio.gather(*[guest.guest_ping() for _ in range(300)]) == [None] * 300
            copy = asyncio.create_task(guest.upload(str(tmp_path / "a"), str(tmp_path / "b")))
            while not copy.done():
                await guest.guest_ping()
            assert (await copy).verified

    asyncio.run(there())
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


JOIN = """
import os, select, sys
a, b = map(int, sys.argv[1:])
while True:
    for ready in select.select([a, b], [], [])[0]:
        os.write(b if ready == a else a, os.read(ready, 4096))
"""


def test_waiting_for_an_agent_tells_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    seen: list[str] = []
    with pytest.raises(AgentUnreachable, match="does the guest run"):
        Client.connect(str(path), wait=1.2, progress=lambda passed, error: seen.append(str(error)))
    assert len(seen) >= 2


def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    """As QEMU's chardev with another client: it accepts, nothing comes, and nothing may be carried out later."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        client = Client(str(tmp_path / "s"), timeout=0.3)
        with pytest.raises(AgentTimeout, match="another client holds the socket"):
            client.call("guest-exec", path="true")
        peer, _ = listener.accept()
        with peer:
            assert b"guest-exec" not in peer.recv(9999)
    with pytest.raises(AgentUnreachable, match="nobody listens"):
        Client(str(tmp_path / "s")).guest_ping()


def test_a_console_is_no_agent() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    echo = subprocess.Popen(
        [sys.executable, "-c", f"import os\nwhile 1: os.write({master}, os.read({master}, 99))"], pass_fds=(master,)
    )
    try:
        with pytest.raises(AgentTimeout, match="a console, not an agent"):
            Client(f"serial:{os.ttyname(slave)}", timeout=1).guest_ping()
    finally:
        echo.kill()
        echo.wait()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/run/x", ("unix", "/run/x", "", 0)),
        ("x.sock", ("unix", "x.sock", "", 0)),
        ("./a:b", ("unix", "./a:b", "", 0)),
        ("unix:/run/x", ("unix", "/run/x", "", 0)),
        ("tcp:[::1]:5000", ("tcp", "", "::1", 5000)),
        ("vsock:3:1234", ("vsock", "", "3", 1234)),
        ("serial:/dev/ttyS0", ("serial", "/dev/ttyS0", "", 0)),
        ("libvirt:web", ("libvirt", "web", "", 0)),
        ("libvirt+ssh://me@h/web", ("libvirt", "web", "qemu+ssh://me@h/system", 0)),
    ],
)
def test_addresses(text: str, expected: tuple[str, str, str, int]) -> None:
    assert roads.parse(text)[:4] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "tcp:host",
        "tcp:h:99999",
        "vsock:a:1",
        "http://x",
        "libvirt+ssh://h",
        "libvirt+ssh://-oX/d",
        "libvirt:",
    ],
)
def test_what_is_no_address_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QGA_CONNECT", raising=False)
    with pytest.raises(AddressError):
        Client(text or None)


def test_the_address_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGA_CONNECT", "tcp:localhost:1")
    with pytest.raises(AgentUnreachable, match=r"^tcp:localhost:1: nobody listens"):
        Client().guest_ping()


def test_libvirt_by_virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for virsh that answers as virsh does: none here has a domain with an agent."""
    virsh = tmp_path / "virsh"
    virsh.write_text(f"#!{sys.executable}\n" + VIRSH)
    virsh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with Client("libvirt+ssh://host/web") as guest:
        assert guest.guest_get_host_name().host_name == "--connect=qemu+ssh://host/system --domain=web"
        with pytest.raises(CommandNotFound, match="does not have"):
            guest.call("guest-missing")
        with pytest.raises(CommandFailed, match="guest-bad: broken"):
            guest.call("guest-bad")
        with pytest.raises(AgentUnreachable, match="not connected"):
            guest.call("guest-gone")


VIRSH = """
import json, sys
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
asked = json.loads(words["--cmd"])["execute"]
why = {"guest-missing": "The command guest-missing has not been found", "guest-bad": "broken"}.get(asked)
if why:
    sys.exit(f"error: internal error: unable to execute QEMU agent command '{asked}': {why}")
if asked == "guest-gone":
    sys.exit("error: Guest agent is not responding: QEMU guest agent is not connected")
name = f"--connect={words['--connect']} --domain={words['--domain']}"
print(json.dumps({"return": {"host-name": name} if asked == "guest-get-host-name" else {}}))
"""


def test_importing_the_client_is_cheap() -> None:
    heavy = ("asyncio", "serial", "libvirt", "jsonschema", "fastjsonschema", "subprocess")
    code = f"import sys; from qga.client import Client; print(*set({heavy!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_errors_are_of_one_family() -> None:
    for kind in (AddressError, AgentUnreachable, AgentTimeout, OutOfStep, CommandFailed, CommandNotFound):
        assert issubclass(kind, ClientError)


@pytest.mark.parametrize("which", ["ours", "debian"])
def test_readmes_example_runs(which: str, tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    example = readme.split("<!-- for programs -->\n```python\n")[1].split("```\n<!-- /for programs -->")[0]
    path = tmp_path / "agent.sock"
    with agent(which, tmp_path, path=path):
        Client.connect(str(path), wait=10).close()
        env = {**os.environ, "QGA_CONNECT": f"unix:{path}"}
        done = subprocess.run([sys.executable, "-c", example], env=env, capture_output=True, text=True, check=True)
    assert "Linux\n" in done.stdout
