"""Who owns a hook and its path: real links and real owners, in a directory of root that everyone may enter."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from qga.agent.linux import hooks
from qga.agent.linux.host import Host
from qga.agent.processes import run_helper
from qga.protocol.errors import CommandError

USER = 12345
HOOK = "#!/bin/sh\nexit 0\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def top() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="qga-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture
def host() -> Host:
    return Host(run=run_helper, which=lambda program: None)


def program(path: Path, owner: int = 0, mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(HOOK)
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def directory(path: Path, owner: int = 0, mode: int = 0o755) -> Path:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def link(path: Path, target: Path | str, owner: int = 0) -> Path:
    path.symlink_to(target)
    os.lchown(path, owner, owner)
    return path


def refused(host: Host, path: Path) -> str:
    with pytest.raises(CommandError) as caught:
        hooks.list_hooks(host, str(path))
    said = str(caught.value)
    assert said.startswith(f"fsfreeze hook {path} is refused: ")
    return said.partition(" is refused: ")[2]


def test_file_owned_by_root(host: Host, top: Path) -> None:
    hook = program(top / "hook")
    assert hooks.list_hooks(host, str(hook)) == [str(hook)]
    targets: tuple[Path | str, ...] = (hook, "hook", f"../{top.name}/./hook", "/" + str(hook))
    for index, target in enumerate(targets):
        through = link(top / f"link{index}", target)
        assert hooks.list_hooks(host, str(through)) == [str(through)], "a script knows its own name"
    assert hooks.list_hooks(host, f"{top}/../{top.name}//hook") == [f"{top}/../{top.name}//hook"]


@pytest.mark.parametrize("kind", ["hook", "directory of hooks"])
def test_link_in_a_users_directory_to_a_file_of_root(host: Host, top: Path, kind: str) -> None:
    """The file checked and the file run could differ, as the link may change in between."""
    home = directory(top / "home", USER)
    target = program(top / "own/hook")
    through = link(home / "hook", target if kind == "hook" else target.parent)
    assert refused(host, through) == f"{home} belongs to user {USER}, expected root"


def test_link_in_a_users_directory_along_the_path(host: Host, top: Path) -> None:
    home = directory(top / "home", USER)
    program(top / "own/hook")
    link(home / "there", top / "own")
    first = link(top / "first", "home/there/hook")
    assert refused(host, first) == f"{home} belongs to user {USER}, expected root"
    through = link(top / "through", "own/../home/../own/hook")
    assert refused(host, through) == f"{home} belongs to user {USER}, expected root"


def test_link_owned_by_a_user(host: Host, top: Path) -> None:
    program(top / "hook")
    owned = link(top / "owned", "hook", USER)
    assert refused(host, owned) == f"{owned} belongs to user {USER}, expected root"


@pytest.mark.parametrize("mode", [0o1777, 0o1775])
def test_file_in_a_sticky_directory(host: Host, top: Path, mode: int) -> None:
    """It may be a hard link, made by a user, to a program of root that does what the user wants."""
    shared = directory(top / "shared", mode=mode)
    program(top / "own")
    os.link(top / "own", shared / "hook")
    there = link(shared / "link", top / "own")
    through = link(top / "through", "shared/hook")
    said = f"users other than root may put a file into {shared}, where {{}} is"
    assert refused(host, shared / "hook") == said.format(shared / "hook")
    assert refused(host, there) == said.format(there)
    assert refused(host, through) == said.format(shared / "hook")
    with pytest.raises(CommandError, match=f"^fsfreeze hook {shared}/hook is refused: "):
        hooks.list_hooks(host, str(shared))
    inner = program(shared / "roots/hook")
    assert hooks.list_hooks(host, str(inner)) == [str(inner)]


@pytest.mark.forks
def test_missing_file_and_who_could_create_it(host: Host, top: Path) -> None:
    missing = top / "hook"
    assert hooks.list_hooks(host, str(missing)) == [str(missing)]
    with pytest.raises(CommandError, match="cannot be run: No such file or directory"):
        hooks.run_hook(host, str(missing), "freeze", 10)
    home, shared = directory(top / "home", USER), directory(top / "shared", mode=0o1777)
    assert refused(host, home / "hook") == f"{home} belongs to user {USER}, expected root"
    assert refused(host, shared / "hook") == f"users other than root may make {shared / 'hook'}"
    assert refused(host, link(top / "dangling", "shared/hook")) == f"users other than root may make {shared / 'hook'}"


def test_directory_of_hooks_with_links(host: Host, top: Path) -> None:
    home, own = directory(top / "home", USER), directory(top / "hooks.d")
    link(own / "10-fine", program(top / "fine"))
    assert hooks.list_hooks(host, str(own)) == [str(own / "10-fine")]
    bad = link(own / "20-bad", link(home / "hook", top / "fine"))
    with pytest.raises(CommandError, match=f"^fsfreeze hook {bad} is refused: {home} belongs to user {USER}"):
        hooks.list_hooks(host, str(own))


@pytest.mark.parametrize(("mode", "said"), [(0o777, "0777"), (0o775, "0775")])
def test_directory_along_the_path_that_others_may_write(host: Host, top: Path, mode: int, said: str) -> None:
    way = directory(top / "way", mode=mode)
    hook = program(way / "own/hook")
    assert refused(host, hook) == f"users other than root may write to {way} (mode {said})"


def test_links_in_a_cycle_and_paths_through_a_file(host: Host, top: Path) -> None:
    circle = link(top / "a", "b")
    link(top / "b", "a")
    assert refused(host, circle) == f"{circle}: Too many levels of symbolic links"
    through = program(top / "hook") / "below"
    assert refused(host, through) == f"{through}: Not a directory"


@pytest.mark.forks
def test_hook_without_a_slash_is_the_file_and_not_a_program_in_the_path(
    host: Host, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(top / "true").write_text("#!/bin/sh\necho $0 $1; exit 9\n")
    monkeypatch.chdir(top)
    (hook,) = hooks.list_hooks(host, "true")
    with pytest.raises(CommandError, match=rf"exit status 9: {top}/true freeze"):
        hooks.run_hook(host, hook, "freeze", 10)


def test_acl_counts_as_group_permissions(host: Host, top: Path) -> None:
    """acl(5): user and group of the file, one more user with rwx, the mask, others."""
    hook = program(top / "hook")
    entries = (
        (0x01, 7, 2**32 - 1),
        (0x02, 7, USER),
        (0x04, 5, 2**32 - 1),
        (0x10, 7, 2**32 - 1),
        (0x20, 5, 2**32 - 1),
    )
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(hook, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no ACLs here: {error.strerror}")
    assert refused(host, hook) == f"users other than root may write to {hook} (mode 0775)"
