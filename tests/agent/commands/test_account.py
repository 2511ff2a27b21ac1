from __future__ import annotations

import base64
import logging
import os
import pwd
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from pwd import struct_passwd
from typing import Any

import pytest

from qga.agent.linux import sshkeys
from qga.agent.linux.host import Host, Outcome
from qga.protocol import schema
from tests.conftest import FakePrograms, failed, write

Execute = Callable[..., dict[str, Any]]

KEYS = "/home/ann/.ssh/authorized_keys"
UNREADABLE = f"failed to read '{KEYS}': Failed to open file “{KEYS}”: "
ADD, REMOVE, GET = (f"guest-ssh-{verb}-authorized-keys" for verb in ("add", "remove", "get"))

GETPWNAM = Host.user  # it only reads, and finds none of the users of the tests


class Recorder(FakePrograms):
    """Programs that also record their input and their timeout."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[bytes] = []
        self.timeouts: list[float] = []

    def run(self, argv: Any, *, stdin: bytes = b"", timeout: float = 60) -> Outcome:
        self.inputs.append(stdin)
        self.timeouts.append(timeout)
        return super().run(argv, stdin=stdin, timeout=timeout)


@pytest.fixture
def programs() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def _ann(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest's one user, with a home but no .ssh in it."""
    ann = struct_passwd(("ann", "x", os.getuid(), os.getgid(), "Ann", "/home/ann", "/bin/sh"))
    monkeypatch.setattr(Host, "user", lambda self, name: {"ann": ann}[name])
    Path(host.path("/home/ann")).mkdir(parents=True)


@pytest.fixture(autouse=True)
def _nothing_is_left(descriptors: None, host: Host) -> Any:
    """Assert that neither a descriptor nor a temporary file is left."""
    yield
    assert list(Path(host.root).rglob(".authorized_keys.*")) == []


# guest-set-user-password


def encoded(password: bytes) -> str:
    return base64.b64encode(password).decode()


@pytest.mark.parametrize(("crypted", "argv"), [(False, "chpasswd"), (True, "chpasswd -e")])
def test_password_goes_to_chpasswd(execute: Execute, programs: Recorder, crypted: bool, argv: str) -> None:
    programs.answers["chpasswd"] = Outcome(status=0)
    password = b"s:cr\xff\xe2\x82\xac "
    assert execute("guest-set-user-password", username="änn", password=encoded(password), crypted=crypted) == {
        "return": {}
    }
    assert programs.calls == [argv]
    assert programs.inputs == ["änn:".encode() + password + b"\n"]
    assert programs.timeouts == [60]


@pytest.mark.parametrize(
    ("username", "password", "said"),
    [
        ("ann", "!", "Base64 data contains invalid characters"),
        ("a:b", "!", "Base64 data contains invalid characters"),
        ("ann", encoded(b"a\nroot:b"), "forbidden characters in raw password"),
        ("ann", encoded(b"secret\0"), "forbidden characters in raw password"),
        ("a:b", encoded(b"a\n"), "forbidden characters in raw password"),
        ("root:x\nann", encoded(b"a"), "forbidden characters in username"),
        ("ann\n", encoded(b"a"), "forbidden characters in username"),
        ("a:b", encoded(b"a"), "forbidden characters in username"),
        ("ann\0", encoded(b"a"), "forbidden characters in username"),
    ],
)
def test_input_that_is_not_one_line_of_chpasswd_is_refused(
    execute: Execute, programs: Recorder, username: str, password: str, said: str
) -> None:
    programs.answers["chpasswd"] = Outcome(status=0)
    assert execute("guest-set-user-password", username=username, password=password, crypted=False) == failed(said)
    assert programs.calls == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(status=1, output=b"chpasswd: no\n"), "failed to set user password: chpasswd: no\n"),
        (Outcome(status=3), "failed to set user password: exit status 3"),
        (Outcome(signal=9), "terminated abnormally"),
        (Outcome(timeout=60), "failed to set user password: timed out after 60 s"),
        (None, "failed to set user password: failed to exec 'chpasswd': No such file or directory\n"),
    ],
)
def test_chpasswd_that_fails(execute: Execute, programs: Recorder, outcome: Outcome | None, said: str) -> None:
    if outcome is not None:
        programs.answers["chpasswd"] = outcome
    reply = execute("guest-set-user-password", username="ann", password="YQ==", crypted=False)
    assert reply == failed(f"child process has {said}")


def test_no_log_has_the_password(execute: Execute, programs: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    execute("guest-set-user-password", username="ann", password=encoded(b"Open Sesame"), crypted=False)
    assert "guest-set-user-password called, username: 'ann'" in caplog.text
    assert encoded(b"Open Sesame") not in caplog.text
    assert "Open Sesame" not in caplog.text


def test_earlier_replies_are_not_delayed() -> None:
    assert schema.load().commands["guest-set-user-password"].slow


# guest-ssh-get-authorized-keys


def test_keys_come_in_the_order_of_the_file(execute: Execute, host: Host) -> None:
    write(host, KEYS, "# mine\nssh-rsa A a@b\n\n  \t \n  ssh-rsa B\t\r\n #x\nssh-rsa A a@b\nssh-rsa Ä")
    assert execute(GET, username="ann") == {
        "return": {"keys": ["ssh-rsa A a@b", "ssh-rsa B", "ssh-rsa A a@b", "ssh-rsa Ä"]}
    }


def test_only_a_newline_ends_a_line() -> None:
    assert sshkeys.parse_keys(b"a\x0bb\x0cc\x1cd\xc2\x85e\xe2\x80\xa8f\n") == ["a\x0bb\x0cc\x1cd\x85e\u2028f"]


def test_invalid_utf_8_is_replaced(execute: Execute, host: Host) -> None:
    write(host, KEYS, "")
    Path(host.path(KEYS)).write_bytes(b"ssh-rsa A \xff\n")
    assert execute(GET, username="ann") == {"return": {"keys": ["ssh-rsa A \ufffd"]}}


def test_empty_file_has_no_keys(execute: Execute, host: Host) -> None:
    write(host, KEYS, "")
    assert execute(GET, username="ann") == {"return": {"keys": []}}


def test_missing_file_directory_or_home(execute: Execute, host: Host) -> None:
    missing = failed(f"{UNREADABLE}No such file or directory")
    assert execute(GET, username="ann") == missing
    Path(host.path(KEYS)).parent.mkdir()
    assert execute(GET, username="ann") == missing
    Path(host.path(KEYS)).parent.rmdir()
    Path(host.path("/home/ann")).rmdir()
    assert execute(GET, username="ann") == missing


# guest-ssh-add-authorized-keys


def added(execute: Execute, *keys: str, **more: Any) -> dict[str, Any]:
    return execute(ADD, username="ann", keys=list(keys), **more)


def test_first_key_makes_directory_and_file(execute: Execute, host: Host) -> None:
    previous = os.umask(0)
    try:
        assert added(execute, "ssh-rsa A", "ssh-rsa Ä") == {"return": {}}
    finally:
        os.umask(previous)
    assert Path(host.path(KEYS)).read_text() == "ssh-rsa A\nssh-rsa Ä\n"
    assert stat.S_IMODE(Path(host.path(KEYS)).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(host.path(KEYS)).parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("before", "keys", "after"),
    [
        ("A\n", ["B"], "A\nB\n"),
        ("A", ["B"], "A\nB\n"),
        ("A\n\n# x\n", ["B"], "A\n\n# x\nB\n"),
        ("A\n", ["A"], "A\n"),
        ("A", [], "A\n"),
        ("A\nA\n", ["B", "A", "B"], "A\nA\nB\n"),
        (" A\n", ["A"], " A\nA\n"),
        ("", ["A"], "A\n"),
        ("", [], ""),
    ],
)
def test_keys_that_are_not_there_are_appended(
    execute: Execute, host: Host, before: str, keys: list[str], after: str
) -> None:
    write(host, KEYS, before)
    assert added(execute, *keys) == {"return": {}}
    assert Path(host.path(KEYS)).read_text() == after
    assert added(execute, *keys) == {"return": {}}
    assert Path(host.path(KEYS)).read_text() == after


@pytest.mark.parametrize(("keys", "after"), [(["B", "C", "B"], "B\nC\n"), ([], "")])
def test_reset_drops_what_was_there(execute: Execute, host: Host, keys: list[str], after: str) -> None:
    write(host, KEYS, "A\nB\n")
    assert added(execute, *keys, reset=True) == {"return": {}}
    assert Path(host.path(KEYS)).read_text() == after


def test_reset_creates_what_is_missing(execute: Execute, host: Host) -> None:
    assert added(execute, reset=True) == {"return": {}}
    assert Path(host.path(KEYS)).read_bytes() == b""


def test_invalid_utf_8_in_the_file_is_preserved(execute: Execute, host: Host) -> None:
    write(host, KEYS, "")
    Path(host.path(KEYS)).write_bytes(b"# \xff\r\n")
    added(execute, "A")
    assert Path(host.path(KEYS)).read_bytes() == b"# \xff\r\nA\n"


def test_existing_directory_keeps_its_mode_and_the_file_is_private(execute: Execute, host: Host) -> None:
    write(host, KEYS, "A\n")
    Path(host.path(KEYS)).parent.chmod(0o755)
    Path(host.path(KEYS)).chmod(0o666)
    added(execute, "B")
    assert stat.S_IMODE(Path(host.path(KEYS)).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(host.path(KEYS)).parent.stat().st_mode) == 0o755


def test_file_is_replaced_not_written_over(execute: Execute, host: Host) -> None:
    """sshd never reads half a file, and a hard link to it keeps what it had."""
    write(host, KEYS, "A\n")
    os.link(Path(host.path(KEYS)), Path(host.path("/home/ann/link")))
    added(execute, "B")
    assert Path(host.path("/home/ann/link")).read_text() == "A\n"
    assert Path(host.path(KEYS)).read_text() == "A\nB\n"


def test_missing_home(execute: Execute, host: Host) -> None:
    Path(host.path("/home/ann")).rmdir()
    said = "failed to create directory '/home/ann/.ssh': No such file or directory"
    assert added(execute, "A") == failed(said)
    assert not Path(host.path("/home/ann")).exists()


# guest-ssh-remove-authorized-keys


@pytest.mark.parametrize(
    ("before", "keys", "after"),
    [
        ("A\nB\nA\n", ["A"], "B\n"),
        ("A\n# x\n\nB", ["B"], "A\n# x\n\n"),
        ("A\n A\nA \n", ["A"], " A\nA \n"),
        ("A\nB\n", ["A", "B", "C"], ""),
        ("A\nB\n", [], "A\nB\n"),
    ],
)
def test_lines_that_are_exactly_a_key_are_removed(
    execute: Execute, host: Host, before: str, keys: list[str], after: str
) -> None:
    write(host, KEYS, before)
    assert execute(REMOVE, username="ann", keys=keys) == {"return": {}}
    assert Path(host.path(KEYS)).read_text() == after


def test_nothing_to_remove_from(execute: Execute, host: Host) -> None:
    assert execute(REMOVE, username="ann", keys=["A"]) == {"return": {}}
    assert list(Path(host.path("/home/ann")).iterdir()) == []
    Path(host.path(KEYS)).parent.mkdir()
    assert execute(REMOVE, username="ann", keys=["A"]) == {"return": {}}
    assert list(Path(host.path(KEYS)).parent.iterdir()) == []
    Path(host.path(KEYS)).parent.rmdir()
    Path(host.path("/home/ann")).rmdir()
    assert execute(REMOVE, username="ann", keys=["A"]) == {"return": {}}


# What each of them refuses


@pytest.mark.parametrize("command", [ADD, REMOVE])
@pytest.mark.parametrize("key", ["# x", "A\nB", "A\n", "A\0B"])
def test_an_invalid_key_is_refused_before_the_user_is_looked_up(execute: Execute, command: str, key: str) -> None:
    assert execute(command, username="nobody I know", keys=["A", key]) == failed(
        f"invalid OpenSSH public key: '{key}'"
    )


@pytest.mark.parametrize("name", ["bob", "", "an\0n"])
def test_unknown_user(execute: Execute, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Host, "user", GETPWNAM)
    for command, keys in ((GET, {}), (ADD, {"keys": ["A"]}), (REMOVE, {"keys": ["A"]})):
        unknown = name and f"{name}-whom-no-guest-has"
        assert execute(command, username=unknown, **keys) == failed(
            f"failed to lookup user '{unknown}': No such user"
        )


def test_a_name_that_no_user_can_have_is_not_looked_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C library cannot handle a name of 8 MB: with nss-systemd(8) it aborts the process."""
    looked_up: list[str] = []
    monkeypatch.setattr(pwd, "getpwnam", looked_up.append)
    for length in (256, 8 << 20):
        with pytest.raises(KeyError):
            GETPWNAM(host, "u" * length)
    assert not looked_up
    GETPWNAM(host, "u" * 255)
    assert looked_up == ["u" * 255]


def all_of_them(execute: Execute) -> list[dict[str, Any]]:
    return [
        execute(GET, username="ann"),
        added(execute, "B"),
        added(execute, "B", reset=True),
        execute(REMOVE, username="ann", keys=["A"]),
    ]


def test_file_that_is_a_symbolic_link(execute: Execute, host: Host) -> None:
    write(host, KEYS, "")
    write(host, "/etc/shadow", "A\n")
    Path(host.path(KEYS)).unlink()
    Path(host.path(KEYS)).symlink_to(Path(host.path("/etc/shadow")))
    assert all_of_them(execute) == [failed(f"{UNREADABLE}it is a symbolic link")] * 4
    assert Path(host.path(KEYS)).is_symlink()
    assert Path(host.path("/etc/shadow")).read_text() == "A\n"


@pytest.mark.parametrize("target", ["/etc/keys", "/home/ann/keys"])
def test_directory_that_is_a_symbolic_link(execute: Execute, host: Host, target: str) -> None:
    write(host, f"{target}/authorized_keys", "A\n")
    Path(host.path(KEYS)).parent.symlink_to(Path(host.path(target)))
    assert all_of_them(execute) == [failed(f"{UNREADABLE}its directory is a symbolic link")] * 4
    assert [path.name for path in Path(host.path(target)).iterdir()] == ["authorized_keys"]
    assert Path(host.path(f"{target}/authorized_keys")).read_text() == "A\n"


def test_directory_that_is_a_dangling_symbolic_link(execute: Execute, host: Host) -> None:
    Path(host.path(KEYS)).parent.symlink_to(Path(host.path("/etc-ssh")))
    assert all_of_them(execute) == [failed(f"{UNREADABLE}its directory is a symbolic link")] * 4
    assert not Path(host.path("/etc-ssh")).exists()


def test_directory_that_is_a_file(execute: Execute, host: Host) -> None:
    write(host, "/home/ann/.ssh", "A\n")
    assert all_of_them(execute) == [failed(f"{UNREADABLE}Not a directory")] * 4


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{directory}/{path.name}")  # a path that is short enough for it
    os.close(directory)


@pytest.mark.parametrize("make", [make_fifo, make_socket, Path.mkdir])
def test_what_is_not_a_regular_file_is_refused(execute: Execute, host: Host, make: Callable[[Path], None]) -> None:
    Path(host.path(KEYS)).parent.mkdir()
    make(Path(host.path(KEYS)))
    assert all_of_them(execute) == [failed(f"{UNREADABLE}it is not a regular file")] * 4


@pytest.mark.parametrize("put_there", [make_fifo, lambda path: path.symlink_to("/etc/hostname")])
def test_file_exchanged_after_it_was_looked_at(
    execute: Execute, host: Host, monkeypatch: pytest.MonkeyPatch, put_there: Callable[[Path], None]
) -> None:
    """Opening does not trust the earlier check: it follows no link and does not block on a FIFO."""
    Path(host.path(KEYS)).parent.mkdir()
    put_there(Path(host.path(KEYS)))
    monkeypatch.setattr(sshkeys, "_exists", lambda directory: True)
    reply = execute(GET, username="ann")
    linked = failed(f"{UNREADABLE}Too many levels of symbolic links")
    assert reply == (linked if Path(host.path(KEYS)).is_symlink() else {"return": {"keys": []}})


@pytest.mark.slow
def test_file_that_is_too_large(execute: Execute, host: Host) -> None:
    write(host, KEYS, "A\n" * (sshkeys.MAX_SIZE // 2))
    assert len(execute(GET, username="ann")["return"]["keys"]) == sshkeys.MAX_SIZE // 2
    assert added(execute, "B") == failed(
        f"failed to write to '{KEYS}': it would be larger than {sshkeys.MAX_SIZE} bytes"
    )
    with Path(host.path(KEYS)).open("a") as file:
        file.write("A")
    too_large = failed(f"{UNREADABLE}it is larger than {sshkeys.MAX_SIZE} bytes")
    assert all_of_them(execute) == [too_large, too_large, {"return": {}}, {"return": {}}]
    assert Path(host.path(KEYS)).read_text() == "B\n"


def test_read_that_fails_never_drops_the_keys(execute: Execute, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU's agent treats this as an absent file, and writes one with only the new keys."""

    def fail(directory: int) -> bytes:
        raise OSError(5, "Input/output error")

    write(host, KEYS, "A\n")
    monkeypatch.setattr(sshkeys, "_read", fail)
    assert added(execute, "B") == failed(f"{UNREADABLE}Input/output error")
    assert Path(host.path(KEYS)).read_text() == "A\n"


@pytest.mark.parametrize("call", ["fsync", "rename", "fchmod"])
def test_write_that_fails_changes_nothing(
    execute: Execute, host: Host, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    write(host, KEYS, "A\n")
    monkeypatch.setattr(os, call, full)
    assert added(execute, "B") == failed(f"failed to write to '{KEYS}': No space left on device")
    assert execute(REMOVE, username="ann", keys=["A"]) == failed(
        f"failed to write to '{KEYS}': No space left on device"
    )
    assert Path(host.path(KEYS)).read_text() == "A\n"


def test_directory_that_cannot_be_synced(execute: Execute, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    assert added(execute, "A") == {"return": {}}
    assert Path(host.path(KEYS)).read_text() == "A\n"


def test_all_file_access_happens_as_the_user(execute: Execute, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the lookup happens outside of ``run_as``."""
    write(host, KEYS, "A\n")
    users: list[str] = []

    def refuse(user: struct_passwd, work: Callable[[], bytes]) -> bytes:
        users.append(user.pw_name)
        return b""

    object.__setattr__(host, "run_as", refuse)
    assert all_of_them(execute) == [{"return": {"keys": []}}, *[{"return": {}}] * 3]
    assert users == ["ann"] * 4
    assert Path(host.path(KEYS)).read_text() == "A\n"


def test_host_without_a_run_as_function(host: Host) -> None:
    bare = Host(host.run, host.which, host.root)
    with pytest.raises(Exception, match=r"^cannot become user 'ann'$"):
        sshkeys.list_keys(bare, bare.user("ann"))
