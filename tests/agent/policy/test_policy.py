"""A real agent with a policy, and a host that tries to get past it."""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qga.agent import config
from qga.agent.config import reload
from qga.protocol import schema
from tests.lines import Lines
from tests.running import RunningAgent
from tests.until import until

pytestmark = pytest.mark.forks

SOON = 20.0  # seconds
BASE = """\
default = "deny"
[[rule]]
allow = ["guest-ping", "guest-sync*", "guest-info"]
"""


class Peer:
    """A host on the agent's socket."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def ask(self, name: str, **arguments: object) -> Any:
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._lines.send(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        return json.loads(self._lines.read_line(SOON))

    def allowed(self, name: str, **arguments: object) -> Any:
        reply = self.ask(name, **arguments)
        assert "return" in reply, (reply, arguments)
        return reply["return"]

    def refused(self, name: str, **arguments: object) -> None:
        """Assert that the command is refused in the exact words of QEMU's agent for a disabled command."""
        desc = f"Command {name} has been disabled: the command is not allowed"
        assert self.ask(name, **arguments) == {"error": {"class": "CommandNotFound", "desc": desc}}, arguments

    def failed(self, name: str, **arguments: object) -> str:
        """Assert that the command was allowed but failed; return the error's text."""
        error = self.ask(name, **arguments)["error"]
        assert error["class"] == "GenericError", (error, arguments)
        return str(error["desc"])

    def content(self, path: object, **mode: object) -> str:
        handle = self.allowed("guest-file-open", path=str(path), **mode)
        data = self.allowed("guest-file-read", handle=handle)["buf-b64"]
        self.allowed("guest-file-close", handle=handle)
        return base64.b64decode(data).decode()

    def ended(self, pid: int) -> Any:
        """Wait for a program to end and return what guest-exec-status reports."""

        def look() -> Any:
            status = self.allowed("guest-exec-status", pid=pid)
            return status if status["exited"] else None

        return until(look)

    def output(self, path: object, *arg: str, **arguments: object) -> str:
        given = {"arg": list(arg), **arguments} if arg else arguments
        pid = self.allowed("guest-exec", path=str(path), capture_output=True, **given)["pid"]
        status = self.ended(pid)
        return base64.b64decode(status.get("out-data", "") + status.get("err-data", "")).decode()


@contextmanager
def agent_with(directory: Path, policy: str, *options: str, **env: str) -> Iterator[tuple[RunningAgent, Peer]]:
    file, socket = directory / "policy.toml", directory / "agent.sock"
    file.write_text(policy)
    chosen = ("--policy", str(file), *options)
    with (
        RunningAgent(directory, "-m", "unix-listen", "-p", str(socket), *chosen, env=env) as agent,
        Lines.connect(socket) as lines,
    ):
        yield agent, Peer(lines)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files that may be read below ``log``, and one beside it that may not."""
    (tmp_path / "log/deep").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "log/messages").write_text("fine")
    (tmp_path / "log/deep/er").write_text("fine")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "logs/secret").write_text("secret")
    return tmp_path


def reading(tree: Path) -> str:
    return f"""{BASE}
[[rule]]
allow = ["guest-file-open"]
path = ["{tree}/log/**"]
mode = ["r", "rb"]
[[rule]]
allow = ["guest-file-open"]
path = ["{tree}/log/new-*"]
mode = ["w"]
"""


def test_files_that_may_be_opened(tree: Path) -> None:
    (tree / "log/link").symlink_to("deep/er")
    (tree / "shortcut").symlink_to("log")
    with agent_with(tree, reading(tree)) as (_, peer):
        for path in ("log/messages", "log/deep/er", "log/link", "shortcut/messages", "log/deep/../messages"):
            assert peer.content(tree / path) == "fine"
            assert peer.content(tree / path, mode="rb") == "fine"
        assert "No such file" in peer.failed("guest-file-open", path=f"{tree}/log/none")
        handle = peer.allowed("guest-file-open", path=f"{tree}/log/new-1", mode="w")
        assert peer.allowed("guest-file-write", handle=handle, buf_b64="aGVsbG8=")["count"] == 5
        assert (tree / "log/new-1").read_text() == "hello"
        assert (tree / "log/new-1").stat().st_mode & 0o777 == 0o666  # as QEMU's agent makes them


def test_ways_around_a_rule_about_files(tree: Path) -> None:
    """Symbolic links, .., /proc, names that look alike, other modes, files that would be made."""
    (tree / "log/out").symlink_to(tree / "secret")
    (tree / "log/up").symlink_to("..")
    (tree / "log/far").symlink_to("/etc")
    (tree / "log/twice").symlink_to("out")
    (tree / "log/self").symlink_to("/proc/self/root")
    (tree / "log/new-link").symlink_to(tree / "made")
    attempts = [
        "secret", "logs/secret", "log/../secret", "log/deep/../../secret", "log/out", "log/twice", "log/up/secret",
        "log/far/passwd", f"log/self{tree}/secret", "log/up/log/up/secret", "log//..//secret", "log/./../secret",
        "LOG/messages", "log/../log/../secret", "log", ".",
    ]  # fmt: skip
    everywhere = [
        "/etc/passwd", f"/proc/self/root{tree}/secret", f"/proc/self/cwd/../{tree}/secret", "/proc/self/fd/0",
        "/proc/self/environ", "/proc/self/mem", "/dev/fd/0", "/dev/stdin", "", "log/messages", "./log/messages",
        f"{tree}/log\0/messages", f"{tree}/log\u2215..\u2215secret", f"{tree}/lo\uff47/messages",
        f"{tree}/\u0301log/messages", f"{tree}/log\u2044messages",
        f"file://{tree}/log/messages", f"~/{tree}/log/messages", "x" * 4095,
    ]  # fmt: skip
    before = sorted(str(path) for path in tree.rglob("*") if not path.name.startswith("qga.state"))
    with agent_with(tree, reading(tree)) as (agent, peer):
        for path in [f"{tree}/{path}" for path in attempts] + everywhere:
            peer.refused("guest-file-open", path=path)
        for mode in ("w", "a", "r+", "w+", "a+", "rb+", "wb", "R", "r ", "", "rw", "r\0"):
            peer.refused("guest-file-open", path=f"{tree}/log/messages", mode=mode)
        peer.refused("guest-file-open", path=f"{tree}/log/new-link", mode="w")  # would make a file beside
        peer.refused("guest-file-open", path=f"{tree}/log/new-1/x", mode="w")
        peer.refused("guest-file-open", path=f"{tree}/none/none", mode="w")
        assert (tree / "log/messages").read_text() == "fine"  # w would have emptied it
        after = {str(path) for path in tree.rglob("*") if not path.name.startswith("qga.state")}
        assert after - set(before) <= {
            f"{tree}/{name}" for name in ("agent.sock", "agent.log", "notify", "policy.toml")
        }
        assert agent.alive


def test_relative_paths_start_where_the_agent_does(tree: Path) -> None:
    """They do not start where their text suggests."""
    here = os.path.relpath(tree / "log/messages")
    with agent_with(tree, reading(tree)) as (_, peer):
        assert peer.content(here) == "fine"
        peer.refused("guest-file-open", path=os.path.relpath(tree / "secret"))


def test_the_type_of_a_file_does_not_matter(tree: Path) -> None:
    """Directories, FIFOs and devices neither block nor bypass a rule; a hard link looks like any file."""
    os.mkfifo(tree / "log/fifo")
    os.mkfifo(tree / "log/new-fifo")
    os.link(tree / "secret", tree / "log/hard")
    (tree / "log/null").symlink_to("/dev/null")
    with agent_with(tree, reading(tree)) as (_, peer):
        handle = peer.allowed("guest-file-open", path=f"{tree}/log/fifo")
        assert peer.allowed("guest-file-read", handle=handle)["count"] == 0
        assert "No such device" in peer.failed("guest-file-open", path=f"{tree}/log/new-fifo", mode="w")
        peer.refused("guest-file-open", path=f"{tree}/log/null")
        assert peer.content(tree / "log/hard") == "secret"  # as README's security model says


def test_handles(tree: Path) -> None:
    """A handle permits only what it was opened for, and no number gives access to another file."""
    with agent_with(tree, reading(tree)) as (_, peer):
        handle = peer.allowed("guest-file-open", path=f"{tree}/log/messages")
        assert "write" in peer.failed("guest-file-write", handle=handle, buf_b64="eA==")
        assert peer.allowed("guest-file-seek", handle=handle, offset=1, whence="set")["position"] == 1
        assert base64.b64decode(peer.allowed("guest-file-read", handle=handle)["buf-b64"]) == b"ine"
        peer.allowed("guest-file-flush", handle=handle)
        peer.allowed("guest-file-close", handle=handle)
        for number in (handle, handle + 1, 0, 1, 2, 3, -1, 7):
            assert "has not been found" in peer.failed("guest-file-read", handle=number)
        later = peer.allowed("guest-file-open", path=f"{tree}/log/messages")
        assert later != handle
        (tree / "log/messages").unlink()
        (tree / "log/messages").symlink_to(tree / "secret")
        assert base64.b64decode(peer.allowed("guest-file-read", handle=later)["buf-b64"]) == b"fine"
        peer.refused("guest-file-open", path=f"{tree}/log/messages")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    program(tmp_path / "bin/tool", '#!/bin/sh\necho "tool $# $*"\n')
    program(tmp_path / "bin/toolx", "#!/bin/sh\necho evil\n")
    program(tmp_path / "evil/tool", "#!/bin/sh\necho evil\n")
    program(tmp_path / "bin/bare", "echo bare $#\n")
    return tmp_path


def running(tools: Path) -> str:
    return f"""{BASE}
[[rule]]
allow = ["guest-exec"]
path = ["{tools}/bin/tool"]
arg = [["update"], ["install", "-y", "*"]]
env = []
[[rule]]
allow = ["guest-exec"]
path = ["{tools}/bin/bare", "{os.path.realpath(sys.executable)}", "{os.path.realpath("/bin/sh")}"]
arg = [["--version"], ["-c", "echo $0 fine"], ["-c", "import os; print(sorted(os.listdir('/proc/self/fd')))"], []]
env = [[], ["LANG=*"]]
"""


def test_programs_that_may_run(tools: Path) -> None:
    (tools / "link").symlink_to("bin/tool")
    with agent_with(tools, running(tools), PATH=f"{tools}/bin:{os.environ['PATH']}") as (agent, peer):
        for path in (f"{tools}/bin/tool", f"{tools}/link", "tool", f"{tools}/evil/../bin/tool"):
            assert peer.output(path, "update") == "tool 1 update\n"
            assert peer.output(path, "install", "-y", "a b") == "tool 3 install -y a b\n"
        assert peer.output(f"{tools}/bin/bare") == "bare 0\n"  # a script without #!
        assert peer.output(sys.executable, "--version").startswith("Python 3")
        assert peer.output(f"{tools}/link", "update", env=[]) == "tool 1 update\n"
        assert peer.output("sh", "-c", "echo $0 fine", env=["LANG=C"]) == f"{os.path.realpath('/bin/sh')} fine\n"
        # A program inherits no descriptor of the agent: 3 is the directory that it lists.
        listing = "import os; print(sorted(os.listdir('/proc/self/fd')))"
        assert peer.output(os.path.realpath(sys.executable), "-c", listing) == "['0', '1', '2', '3']\n"
        held = os.listdir(f"/proc/{agent.process.pid}/fd")
        assert peer.output("tool", "update") == "tool 1 update\n"
        assert os.listdir(f"/proc/{agent.process.pid}/fd") == held


def test_ways_around_a_rule_about_programs(tools: Path) -> None:
    """Common prefixes, other arguments, PATH, env, a shell, an interpreter with arguments, another argv[0]."""
    (tools / "shared").mkdir()
    (tools / "shared/tool").symlink_to(tools / "evil/tool")
    policy, path = running(tools), f"{tools}/bin/tool"
    with agent_with(tools, policy, PATH=f"{tools}/evil:{tools}/bin") as (_, peer):
        peer.refused("guest-exec", path="tool", arg=["update"])  # the PATH of the agent finds another
        for other in (f"{path}x", f"{path} update", f"{tools}/evil/tool", f"{tools}/shared/tool", f"{tools}/bin", ""):
            peer.refused("guest-exec", path=other, arg=["update"])
        peer.refused("guest-exec", path="/bin/sh", arg=["-c", f"{path} update"])
        peer.refused("guest-exec", path="/usr/bin/env", arg=[path, "update"])
        for arg in (
            [], ["update", ""], ["update", "-y"], ["update -y"], ["updatex"], ["xupdate"], ["UPDATE"], ["update\n"],
            ["update\0"], ["install"], ["install", "-y"], ["install", "-y", "a", "b"], ["install -y a"], ["*"],
            ["**"], ["\u00a0update"], ["u\u0440date"],
        ):  # fmt: skip
            peer.refused("guest-exec", path=path, arg=arg)
        peer.refused("guest-exec", path=path)  # no arguments are none
        for env in (["LD_PRELOAD=/x"], ["PATH=/x"], [""], ["x"], ["BASH_ENV=/x", "LANG=C"]):
            peer.refused("guest-exec", path=path, arg=["update"], env=env)
        peer.refused("guest-exec", path="tool", arg=["update"], env=[f"PATH={tools}/bin"])
        for env in (["LANG=C", "LD_PRELOAD=/x"], ["LANG_=C"], [" LANG=C"], ["lang=C"]):
            peer.refused("guest-exec", path=sys.executable, arg=["--version"], env=env)
        for arg in (["-c", "print(1)"], ["-V"], ["--version", "-c", "print(1)"], [f"{tools}/evil/tool"]):
            peer.refused("guest-exec", path=sys.executable, arg=arg)
        assert "evil" not in peer.output(path, "update")


def test_a_program_runs_under_its_resolved_name(tools: Path) -> None:
    """Some programs behave differently under another name, which the rule did not allow."""
    binary = os.path.realpath("/bin/sh")
    (tools / "another-name").symlink_to(binary)
    policy = f'{BASE}[[rule]]\nallow = ["guest-exec"]\npath = ["{binary}"]\narg = [["-c", "**"]]\nenv = []\n'
    with agent_with(tools, policy) as (_, peer):
        assert peer.output(tools / "another-name", "-c", "echo $0") == f"{binary}\n"


def test_what_is_forbidden_is_forbidden_by_every_path(tools: Path) -> None:
    """A deny rule also covers the target of its own path, and what is allowed runs exactly as it was checked."""
    (tools / "link").symlink_to("evil/tool")
    (tools / "shortcut").symlink_to("evil")
    policy = f"""
default = "allow"
[[rule]]
deny = ["guest-exec", "guest-file-open"]
path = ["{tools}/link", "{tools}/shortcut/deep*/**"]
"""
    (tools / "evil/deeper").mkdir()
    (tools / "evil/deeper/x").write_text("secret")
    with agent_with(tools, policy) as (_, peer):
        peer.refused("guest-exec", path=f"{tools}/link")
        peer.refused("guest-exec", path=f"{tools}/evil/tool")
        peer.refused("guest-file-open", path=f"{tools}/evil/deeper/x")
        assert peer.output(f"{tools}/bin/tool") == "tool 0 \n"
        assert peer.output("true") == ""
        assert peer.content(f"{tools}/bin/bare") == "echo bare $#\n"
        assert "No such file" in peer.failed("guest-exec", path="no-such-program")


def test_info_and_commands_that_no_rule_names(tree: Path) -> None:
    policy = reading(tree) + '[[rule]]\ndeny = ["guest-set-user-password"]\nusername = ["root"]\n'
    with agent_with(tree, policy, "-b", "guest-file-flush") as (_, peer):
        states = {entry["name"]: entry["enabled"] for entry in peer.allowed("guest-info")["supported_commands"]}
        enabled = {name for name, on in states.items() if on}
        assert enabled == {
            "guest-ping", "guest-sync", "guest-sync-delimited", "guest-info", "guest-file-open", "guest-file-close",
            "guest-file-read", "guest-file-write", "guest-file-seek",
        }  # fmt: skip
        for name in states.keys() - enabled:  # without arguments: it is not even looked at
            peer.refused(name)
        assert "is missing" in peer.failed("guest-file-open")


def test_rules_about_any_argument(tmp_path: Path) -> None:
    policy = f"""{BASE}
[[rule]]
deny = ["guest-ssh-*-authorized-keys"]
username = ["root"]
[[rule]]
allow = ["guest-ssh-get-authorized-keys"]
[[rule]]
allow = ["guest-file-seek"]
offset = [0, 5]
"""
    with agent_with(tmp_path, policy) as (_, peer):
        peer.refused("guest-ssh-get-authorized-keys", username="root")
        assert "No such user" in peer.failed("guest-ssh-get-authorized-keys", username="no-such-user")
        peer.refused("guest-ssh-add-authorized-keys", username="nobody", keys=[])
        peer.refused("guest-file-seek", handle=1, offset=1, whence=0)
        assert "has not been found" in peer.failed("guest-file-seek", handle=1, offset=5, whence=0)


SWAP = """
import os, sys
directory, link, one, other = sys.argv[1:]
print(flush=True)
while True:
    for target in (one, other):
        os.symlink(target, f"{directory}/swap")
        os.rename(f"{directory}/swap", link)
"""
REPLACE = """
import os, sys
directory, file, other = sys.argv[1:]
print(flush=True)
while True:
    with open(f"{directory}/swap", "w") as new:
        new.write("#!/bin/sh\\necho fine\\n")
    os.chmod(f"{directory}/swap", 0o755)
    os.rename(f"{directory}/swap", file)
    os.symlink(other, f"{directory}/swap")
    os.rename(f"{directory}/swap", file)
"""


@contextmanager
def swapping(script: str, *arguments: object) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def races(tmp_path: Path) -> tuple[Path, Path, str]:
    """A directory in which all is allowed, a program that is forbidden, and the policy."""
    here = tmp_path / "allowed"
    program(here / "one", "#!/bin/sh\necho fine\n")
    forbidden = program(tmp_path / "forbidden/one", "#!/bin/sh\necho forbidden\n")
    policy = f"""{BASE}
[[rule]]
allow = ["guest-file-open", "guest-exec"]
path = ["{here}/*"]
"""
    return here, forbidden, policy


def race(peer: Peer, path: Path, tries: int) -> dict[str, int]:
    """Count opens, executions, refusals and failures, asserting that forbidden content never came back."""
    counts = dict.fromkeys(("opened", "executed", "refused", "failed"), 0)
    for number in range(tries):
        by_exec = number % 4 == 0
        name, arguments = ("guest-exec", {"capture-output": True}) if by_exec else ("guest-file-open", {})
        reply = peer.ask(name, path=str(path), **arguments)
        if "error" in reply:
            refused = reply["error"]["class"] == "CommandNotFound"
            counts["refused" if refused else "failed"] += 1
            continue
        counts["executed" if by_exec else "opened"] += 1
        if by_exec:
            pid = reply["return"]["pid"]
            status = peer.ended(pid)
            said = base64.b64decode(status.get("out-data", "") + status.get("err-data", ""))
            assert said == b"fine\n", said
        else:
            handle = reply["return"]
            content = base64.b64decode(peer.allowed("guest-file-read", handle=handle)["buf-b64"])
            peer.allowed("guest-file-close", handle=handle)
            assert content == b"#!/bin/sh\necho fine\n", content
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("way", ["the link itself", "a directory on the way", "the file and a link"])
def test_swapping_links_does_not_bypass_a_rule(tmp_path: Path, way: str) -> None:
    """During thousands of swaps the agent opens and executes what it has checked, or refuses."""
    here, forbidden, policy = races(tmp_path)
    if way == "the link itself":
        path = here / "link"
        job = swapping(SWAP, tmp_path, path, here / "one", forbidden)
    elif way == "a directory on the way":
        path = tmp_path / "way/one"
        job = swapping(SWAP, tmp_path, tmp_path / "way", here, forbidden.parent)
    else:
        path = here / "one"
        job = swapping(REPLACE, tmp_path, path, forbidden)
    with agent_with(tmp_path, policy) as (_, peer), job:
        for _ in range(5):  # until the machine has let both sides run
            counts = race(peer, path, 1000)
            if all(counts[what] for what in ("opened", "executed", "refused")):
                break
        assert all(counts[what] for what in ("opened", "executed", "refused")), counts


def tell(agent: RunningAgent) -> None:
    """Send SIGHUP and wait until the reload has finished."""
    agent.process.send_signal(signal.SIGHUP)
    assert agent.notification().startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert agent.notification() == "READY=1"


def test_reload(tree: Path) -> None:
    """A reload replaces policy, lists, limits and log, and keeps the channel, handles and programs."""
    conf, log = tree / "ga.conf", tree / "ga.log"
    conf.write_text(f"[general]\nlogfile={log}\nmax-handles=2\n")
    policy = tree / "policy.toml"
    with agent_with(tree, 'default = "allow"\n', "-c", str(conf)) as (agent, peer):
        handle = peer.allowed("guest-file-open", path=f"{tree}/log/messages")
        os.mkfifo(tree / "go")
        script = f"read x < {tree}/go; echo done"
        pid = peer.allowed("guest-exec", path="sh", arg=["-c", script], capture_output=True)["pid"]
        peer.allowed("guest-get-host-name")

        shell = os.path.realpath("/bin/sh")
        policy.write_text(
            reading(tree) + f'[[rule]]\nallow = ["guest-exec"]\npath = ["{shell}"]\narg = [["-c", "*"]]\n'
        )
        peer.allowed("guest-get-host-name")  # the change takes effect on reload only
        tell(agent)
        peer.refused("guest-get-host-name")
        peer.refused("guest-exec", path="true")
        assert peer.allowed("guest-exec-status", pid=pid) == {"exited": False}
        peer.refused("guest-file-open", path=f"{tree}/secret")
        assert base64.b64decode(peer.allowed("guest-file-read", handle=handle)["buf-b64"]) == b"fine"

        policy.write_text('default = "allow"\n')
        log.rename(tree / "ga.log.1")
        conf.write_text(
            f"[general]\nlogfile={log}\nmax-handles=1\nblock-rpcs=guest-get-users\nverbose=true\npidfile=/x\n"
        )
        tell(agent)
        assert "block-rpcs" not in (tree / "ga.log.1").read_text()
        assert "pidfile cannot change while the agent runs, and stays" in log.read_text()
        peer.refused("guest-get-users")
        assert "refused" not in str(peer.allowed("guest-get-host-name"))
        assert "max-handles" in peer.failed("guest-file-open", path=f"{tree}/log/messages")
        assert "the command is not allowed (block-rpcs)" in log.read_text()  # verbose
        (tree / "go").write_text("\n")
        status = peer.ended(pid)
        assert base64.b64decode(status["out-data"]) == b"done\n"
        assert agent.terminate() == 0


def revoked(log: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return [record for record in records if record["event"] == "revoked"]


def test_a_tighter_policy_closes_the_files_that_it_would_not_open(tree: Path) -> None:
    """Files are judged by the arguments they were opened with and by their present path."""
    audit, policy = tree / "audit.log", tree / "policy.toml"
    for name in ("moved-out", "removed", "linked"):
        (tree / "log" / name).write_text("fine")
    (tree / "moved-in").write_text("fine")
    (tree / "removed-secret").write_text("secret")
    (tree / "log/link").symlink_to(tree / "secret")
    with agent_with(tree, 'default = "allow"\n', "--audit-log", str(audit)) as (agent, peer):

        def opened(name: str, mode: str = "r") -> int:
            handle: int = peer.allowed("guest-file-open", path=f"{tree}/{name}", mode=mode)
            return handle

        kept = [
            *(opened("log/messages"), opened("log/../log/deep/er", "rb"), opened("log/new-x", "w")),
            *(opened("moved-in"), opened("log/removed")),
        ]
        lost = [
            *(opened("log/messages", "r+"), opened("secret"), opened("log/link"), opened("log/new-y", "a")),
            *(opened("log/moved-out"), opened("removed-secret")),
        ]
        (tree / "log/moved-out").rename(tree / "out")
        (tree / "moved-in").rename(tree / "log/in")
        (tree / "log/removed").unlink()
        (tree / "removed-secret").unlink()
        (tree / "log/removed-secret").write_text("fine")

        policy.write_text(reading(tree))
        tell(agent)
        for handle in kept:
            peer.allowed("guest-file-seek", handle=handle, offset=0, whence="set")
        for handle in lost:
            for command, arguments in (("read", {}), ("write", {"buf-b64": "eA=="}), ("close", {})):
                said = peer.failed(f"guest-file-{command}", handle=handle, **arguments)
                assert said == f"handle '{handle}' has not been found"
        assert (tree / "log/messages").read_text() == "fine"
        rule = f'{policy}, line 1: default = "deny"'
        assert [(r["command"], r["handle"], r["decision"], r["rule"]) for r in revoked(audit)] == [
            ("guest-file-open", handle, "revoked", rule) for handle in lost
        ]
        log = agent.log.read_text()
        assert f"handle {lost[0]} of {tree}/log/messages (mode r+) is closed: {rule}" in log
        assert f"handle {lost[2]} of {tree}/secret (mode r) is closed: {rule}" in log
        assert log.count("is closed: ") == len(lost)
        held = {os.readlink(link) for link in Path(f"/proc/{agent.process.pid}/fd").iterdir()}
        assert f"{tree}/secret" not in held


@pytest.mark.parametrize("how", ["block-rpcs", "allow-rpcs", "profile"])
def test_lists_and_profiles_apply_to_open_handles_too(tree: Path, how: str) -> None:
    conf = tree / "ga.conf"
    conf.write_text("[general]\n")
    sock = tree / "agent.sock"
    options = ("-m", "unix-listen", "-p", str(sock), "-c", str(conf))
    with RunningAgent(tree, *options) as agent, Lines.connect(sock) as lines:
        peer = Peer(lines)
        handle = peer.allowed("guest-file-open", path=f"{tree}/secret", mode="r+")
        pid = peer.allowed("guest-exec", path="sleep", arg=["1000"])["pid"]
        line = {
            "block-rpcs": "block-rpcs=guest-file-open,guest-exec",
            "allow-rpcs": "allow-rpcs=guest-file-read,guest-exec-status,guest-ping",
            "profile": "profile=backup",
        }[how]
        conf.write_text(f"[general]\n{line}\n")
        tell(agent)
        gone(pid)
        conf.write_text("[general]\n")
        tell(agent)
        assert peer.failed("guest-file-read", handle=handle) == f"handle '{handle}' has not been found"
        assert peer.failed("guest-exec-status", pid=pid) == f"PID {pid} does not exist"


def gone(pid: int) -> None:
    """Wait until a process has ended: pidfd_open(2)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], SOON)[0], pid
    finally:
        os.close(descriptor)


def test_a_tighter_policy_ends_the_programs_that_it_would_not_start(tools: Path) -> None:
    audit, policy = tools / "audit.log", tools / "policy.toml"
    shell = os.path.realpath("/bin/sh")
    started = tools / "started"
    program(tools / "bin/script", f"#!/bin/sh\nsleep 1000 & echo $! > {started}; wait\n")
    os.mkfifo(started)
    os.mkfifo(tools / "go")
    (tools / "bin/by-link").symlink_to(tools / "evil/tool")
    with agent_with(tools, 'default = "allow"\n', "--audit-log", str(audit)) as (agent, peer):

        def run(path: object, *arg: str, **more: object) -> int:
            pid: int = peer.allowed("guest-exec", path=str(path), arg=list(arg), capture_output=True, **more)["pid"]
            return pid

        until = f"read x < {tools}/go; echo done"
        kept = run("sh", "-c", until, env=["LANG=C"])
        over = run(tools / "bin/tool", "update", env=[])
        lost = [
            run(tools / "bin/script"),
            run("sh", "-c", "sleep 1000"),  # its arguments
            run("sh", "-c", until, env=["LD_PRELOAD=x"]),  # its environment
            run("sh", "-c", until, env=["LANG=C"], input_data="eA=="),  # its input
        ]
        unread = run(tools / "bin/by-link")
        child = int(started.read_text())
        policy.write_text(f"""{BASE}
[[rule]]
allow = ["guest-exec"]
path = ["{shell}"]
arg = [["-c", "read x *; echo done"]]
env = [["LANG=*"]]
input-data = []
[[rule]]
allow = ["guest-exec"]
path = ["{tools}/bin/*"]
arg = [["update"]]
""")
        tell(agent)
        for pid in (*lost, child):
            gone(pid)
        for pid in (*lost, unread):
            assert peer.failed("guest-exec-status", pid=pid) == f"PID {pid} does not exist"
        assert base64.b64decode(peer.ended(over)["out-data"]) == b"tool 1 update\n"
        (tools / "go").write_text("\n")
        assert base64.b64decode(peer.ended(kept)["out-data"]) == b"done\n"
        rule = f'{policy}, line 1: default = "deny"'
        assert [(r["command"], r["pid"], r["decision"], r["rule"]) for r in revoked(audit)] == [
            ("guest-exec", pid, "revoked", rule) for pid in (*lost, unread)
        ]
        log = agent.log.read_text()
        assert f"program {lost[0]} ({tools}/bin/script) is ended: {rule}" in log
        assert f"program {unread} ({tools}/evil/tool) is" in log


def test_a_daemon_reloads_from_the_directory_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then its working directory is / and the process that was given the socket has exited."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text('default = "allow"\n')
    (tmp_path / "ga.conf").write_text("[general]\nmethod=unix-listen\npolicy=policy.toml\nmax-execs=1\n")
    environ = {"QGA_CONF": "ga.conf", "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    started = config.load(["-d", "-l", "log"], environ)
    assert started.config.path is None
    commands = schema.load()
    source = reload.Source(started.given, environ, commands, started.config)
    now = config.absolute_paths(started.config)
    monkeypatch.chdir("/")
    environ.clear()
    (tmp_path / "ga.conf").write_text("[general]\nmethod=unix-listen\npolicy=policy.toml\nmax-execs=7\n")
    read = source.read(now)
    assert read.config == now._replace(max_execs=7)
    assert read.config.policy == f"{tmp_path}/policy.toml"
    assert read.rules is not None
    assert read.warnings == ()


def test_a_file_that_was_read_once_must_be_there_at_a_reload(tmp_path: Path) -> None:
    """Otherwise a failed editor or a missing disk would allow what the file forbids."""
    conf, policy = tmp_path / "ga.conf", tmp_path / "qga-policy.toml"
    conf.write_text("[general]\nblock-rpcs=guest-exec\n")
    environ = {"QGA_CONF": str(conf)}
    started = config.load([], environ)
    source = reload.Source(started.given, environ, schema.load(), started.config, str(policy))
    policy.write_text('default = "deny"\n')
    now = source.read(started.config)
    assert now.rules is not None
    for gone, said in ((conf, "No such file or directory"), (policy, f"policy {policy} has been removed: expected")):
        away = gone.rename(tmp_path / "away")
        for _ in range(2):
            with pytest.raises(config.ConfigError, match=said):
                source.read(now.config)
        away.rename(gone)
        assert source.read(now.config).config == now.config
    policy.unlink()
    conf.write_text("[general]\nprofile=full\n")  # that is to say so
    now = source.read(now.config)
    assert (now.rules, now.config.block_rpcs) == (None, ())
    conf.write_text("")
    assert source.read(now.config).rules is None


def test_a_terminal_hang_up_ends_the_agent(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    path = tmp_path / "agent.sock"
    argv = [sys.executable, "-m", "qga", "-m", "unix-listen", "-p", str(path), "-t", str(tmp_path)]
    env = {**os.environ, "QGA_CONF": "/dev/null"}
    process = subprocess.Popen(argv, stdin=theirs, env=env)
    try:
        with Lines.connect_soon(path) as lines:
            Peer(lines).allowed("guest-ping")
        process.send_signal(signal.SIGHUP)
        assert process.wait(SOON) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("broken", ["policy", "configuration", "list", "gone", "both", "group", "key", "twice"])
def test_a_failed_reload_keeps_the_previous_policy(tree: Path, broken: str) -> None:
    conf, policy, log = tree / "ga.conf", tree / "policy.toml", tree / "ga.log"
    conf.write_text(f"[general]\nlogfile={log}\n")
    with agent_with(tree, reading(tree), "-c", str(conf)) as (agent, peer):
        said = {
            "policy": "policy.toml, line 1: unknown key 'defualt'",
            "configuration": "ga.conf, line 2, max-execs: 'many' is not valid",
            "list": "'guest-exce' is not a command",
            "gone": "cannot read policy",
            "both": "expected only one of them",
            "group": "ga.conf, line 1: unknown group 'General', expected [general]",
            "key": "ga.conf, line 2: unknown key 'allowrpcs' (did you mean 'allow-rpcs'?)",
            "twice": "line 3: 'max-execs' is given again, first in line 2",
        }[broken]
        if broken == "policy":
            policy.write_text('defualt = "deny"\n')
        elif broken == "gone":
            policy.unlink()
        else:
            wrong = {
                "configuration": "[general]\nmax-execs=many\n",
                "list": "[general]\nblock-rpcs=guest-exce\n",
                "both": "[general]\nprofile=full\n",
                "group": "[General]\nmax-execs=1\n",
                "key": "[general]\nallowrpcs=guest-ping\n",
                "twice": "[general]\nmax-execs=1\nmax-execs=0\n",
            }
            conf.write_text(wrong[broken])
        log.rename(tree / "ga.log.1")
        tell(agent)
        assert said in log.read_text()
        assert "keeping the previous one" in log.read_text()
        peer.refused("guest-file-open", path=f"{tree}/secret")
        peer.refused("guest-exec", path="true")
        assert peer.content(f"{tree}/log/messages") == "fine"


def start(*options: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "QGA_CONF": "/dev/null"}
    argv = [sys.executable, "-m", "qga", "-m", "unix-listen", "-p", "/nonexistent/socket", *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=SOON, check=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('default = "deny"\nx = 1\n', "line 2: unknown key 'x', expected default or [[rule]]"),
        ('default = "deny\n', "line 1: expected TOML"),
        ("", "line 1: no default: expected"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-x"]\n', "line 3: allow: 'guest-x' is not a command"),
        (None, "cannot read policy"),
    ],
)
def test_no_start_with_a_policy_that_is_not_understood(tmp_path: Path, text: str | None, words: str) -> None:
    policy = tmp_path / "policy.toml"
    if text is not None:
        policy.write_text(text)
    done = start("--policy", str(policy))
    assert (done.returncode, done.stdout) == (1, "")
    assert str(policy) in done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_start_with_an_unknown_profile(tmp_path: Path) -> None:
    conf = tmp_path / "ga.conf"
    for text, words in (
        ("profile=inof", "'inof' is not valid, expected one of full, info, backup, managed, confidential"),
        ("profile=", "'' is not valid, expected one of"),
        ("policy=", "'' is not valid, expected a path"),
        ("profil=info", "unknown key 'profil' (did you mean 'profile'?)"),
        ("polcy=/x", "unknown key 'polcy' (did you mean 'policy'?)"),
        ("profile=info\npolicy=/x", "there is a profile (info) and a policy (/x): expected only one of them"),
    ):
        conf.write_text(f"[general]\n{text}\n")
        done = start("-c", str(conf))
        assert done.returncode == 1
        assert words in done.stderr


def test_a_profile_by_its_effect(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with (
        RunningAgent(tmp_path, "-m", "unix-listen", "-p", str(path), "--profile", "confidential"),
        Lines.connect(path) as lines,
    ):
        peer = Peer(lines)
        peer.allowed("guest-get-time")
        peer.refused("guest-get-osinfo")
        peer.refused("guest-file-open", path="/etc/passwd")
        peer.refused("guest-set-time")


def explained(policy: Path, request: object, *options: str) -> tuple[int, str]:
    text = request if isinstance(request, str) else json.dumps(request)
    done = start("--policy", str(policy), "--explain", text, *options)
    return done.returncode, (done.stdout + done.stderr).removeprefix("qemu-ga: ")


@pytest.mark.slow
def test_explain(tree: Path) -> None:
    policy = tree / "policy.toml"
    policy.write_text(reading(tree))
    opening = {"execute": "guest-file-open", "arguments": {"path": f"{tree}/log/../log/messages"}}
    assert explained(policy, opening) == (
        0,
        f"allowed: {policy}, line 6: allow guest-file-open\npath: {tree}/log/messages\n",
    )
    opening["arguments"] = {"path": f"{tree}/log/../secret", "mode": "w"}
    assert explained(policy, opening) == (3, f'denied: {policy}, line 1: default = "deny"\npath: {tree}/secret\n')
    assert (tree / "secret").read_text() == "secret"  # nothing is done
    ping = {"execute": "guest-ping"}
    assert explained(policy, ping)[0] == 0
    assert explained(policy, ping, "-b", "guest-ping") == (3, "denied: option --block-rpcs\n")
    conf = tree / "ga.conf"
    conf.write_text("[general]\n\nallow-rpcs=guest-info\n")
    assert explained(policy, ping, "-c", str(conf)) == (3, f"denied: {conf}, line 3: allow-rpcs\n")
    both = f"denied: {conf}, line 3: allow-rpcs and option --allow-rpcs\n"
    assert explained(policy, ping, "-c", str(conf), "-a", "guest-sync") == (3, both)
    assert explained(policy, {"execute": "guest-file-read", "arguments": {"handle": 1}})[0] == 0
    for wrong, words in (
        ({"execute": "guest-pong"}, "The command guest-pong has not been found\n"),
        ({"execute": "guest-file-open"}, "Parameter 'path' is missing\n"),
        ("{", "expected one request, not 0\n"),
        (f"{json.dumps(ping)} {json.dumps(ping)}", "expected one request, not 2\n"),
        ("[]", "QMP input must be a JSON object\n"),
        ("x", "JSON parse error, invalid keyword 'x'\n"),
    ):
        assert explained(policy, wrong) == (2, words)
    policy.write_text("x")
    assert explained(policy, ping)[0] == 1


def test_check_config(tmp_path: Path) -> None:
    policy, conf, hook = tmp_path / "policy.toml", tmp_path / "ga.conf", tmp_path / "hook"
    policy.write_text(BASE)
    program(hook, "#!/bin/sh\n")
    conf.write_text(f"[general]\npolicy={policy}\nfsfreeze-hook=/bin/true\nzzz=1\n")
    done = start("-c", str(conf), "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"warning: {conf}, line 4: unknown key 'zzz' ignored",
        f"OK: {conf} is read",
        f"OK: 4 of 43 commands are allowed by {policy}",
        "OK: fsfreeze hooks: /bin/true",
    ]
    policy.write_text('default = "deny"\nx = 1\ny = 1\n')
    hook.chmod(0o777)
    conf.write_text(f"[general]\npolicy={policy}\nfsfreeze-hook={hook}\nblock-rpcs=guest-exce\n")
    done = start("-c", str(conf), "--check-config")
    assert (done.returncode, done.stderr) == (1, "")
    problems = done.stdout.splitlines()
    assert [line.split(": ")[0] for line in problems] == ["problem"] * 4 + ["OK"]
    for words in (
        "'guest-exce' is not a command",
        "line 2: unknown key 'x'",
        "line 3: unknown key 'y'",
        "users other than root may",
    ):
        assert any(words in line for line in problems), (words, problems)
    conf.write_text("[general]\nsocket-users=nobody-of-this-name\n")
    assert "problem: socket-users: there is no user" in start("-c", str(conf), "--check-config").stdout
    conf.write_text("[general]\nmax-execs=x\nmax-handles=y\nfsfreeze-timeout=z\n")
    assert start("-c", str(conf), "--check-config").stdout.count("problem: ") == 3


@pytest.mark.parametrize("default", ["deny", "allow"])
def test_paths_the_kernel_would_refuse_reach_no_rule(tree: Path, default: str) -> None:
    """Walking ``/usr/..`` a hundred thousand times and matching megabytes took minutes, only to fail."""
    policy = f"""
default = "{default}"
[[rule]]
deny = ["guest-file-open"]
path = ["/**/log/**/x"]
[[rule]]
allow = ["guest-file-open"]
path = ["/var/**"]
[[rule]]
allow = ["guest-exec"]
path = ["{os.path.realpath("/bin/true")}"]
arg = [["--", "*a*b"], ["*"], []]
env = [["**"]]
input-data = []
"""
    with agent_with(tree, policy) as (_, peer):
        for path in ("/usr/.." * 100_000, "/log" * 16_000, "x" * 4096, "\u20ac" * 1366):
            opened = f"failed to open file '{path}' (mode: 'r'): File name too long"
            assert peer.failed("guest-file-open", path=path) == opened
            run = f"Failed to execute child process “{path}” (File name too long)"
            assert peer.failed("guest-exec", path=path) == run
        for text in ("a" * 131_072, "a" * 200_000, "\u20ac" * 43_691, "\0" * 65_536):
            for given in ({"arg": ["--", text]}, {"env": [f"A={text}"]}):
                run = "Failed to execute child process “/bin/true” (Argument list too long)"
                assert peer.failed("guest-exec", path="/bin/true", **given) == run
        # What just fits is looked at, and carried out.
        assert peer.output("/bin/true", "a" * 131_071) == ""
        assert peer.output("/bin/true", "\u20ac" * 43_690) == ""
        peer.refused("guest-file-open", path="/var/log/x")


def test_without_a_policy_the_kernel_says_so_and_nothing_is_made_of_it(tree: Path) -> None:
    """A one-megabyte name appended to each of a million entries of PATH would be a terabyte."""
    with agent_with(tree, 'default = "allow"\n') as (agent, peer):
        before = agent.resident()
        name, path = "x" * 1_000_000, "PATH=" + ":" * 1_000_000
        run = f"Failed to execute child process “{name}” (File name too long)"
        assert peer.failed("guest-exec", path=name, env=[path]) == run
        run = "Failed to execute child process “none” (Argument list too long)"
        assert peer.failed("guest-exec", path="none", env=[path]) == run
        run = "Failed to execute child process “none” (No such file or directory)"
        assert peer.failed("guest-exec", path="none", env=["PATH=" + "/a:/b/../:" * 13_000]) == run
        assert agent.resident() - before < 32 << 20


def test_a_shell_without_arguments_gets_no_script_to_read(tree: Path) -> None:
    """A rule that does not restrict input-data lets the host choose what a shell runs, and causes a warning."""
    shell, script = os.path.realpath("/bin/sh"), base64.b64encode(b"id -u").decode()
    rule = f'{BASE}[[rule]]\nallow = ["guest-exec"]\npath = ["{shell}"]\narg = []\nenv = []\n'
    with agent_with(tree, rule) as (agent, peer):
        assert peer.output(shell, input_data=script) == f"{os.getuid()}\n"
        assert "without input-data the host chooses what the program reads" in agent.log.read_text()
    (tree / "notify").unlink()
    with agent_with(tree, f"{rule}input-data = []\n") as (agent, peer):
        peer.refused("guest-exec", path=shell, input_data=script)
        peer.refused("guest-exec", path=shell, input_data="")
        assert peer.output(shell) == ""
        assert "input-data" not in agent.log.read_text()
