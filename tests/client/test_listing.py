"""Listing a directory tree of the guest: what real guests list, and what is refused of a hostile one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from qga.client import AsyncClient, Client, ClientError, TreeEntry
from qga.client.operations import listing
from tests.client_agents import AGENTS_AND_BUSYBOX, listening

ROOT = (b"d", b"755", b"1600000000.5000000000", b"", b"")
FILE = (b"f", b"644", b"1600000000.0", b"")  # and its name


def listed(*entries: tuple[bytes, ...]) -> bytes:
    return b"".join(member + b"\0" for entry in entries for member in entry)


class TestParse:
    def test_what_a_tree_may_have(self) -> None:
        names = [b"a", b"a/b\nc", b"a/...", b"-x", b"\xe9", b"a/\\", b"pipe"]
        kinds = [b"d", *[b"f"] * 5, b"p"]
        entries = [(kind, b"7777", b"-13.7500000000", b"", name) for kind, name in zip(kinds, names, strict=True)]
        link = (b"l", b"777", b"0", b"../../etc\n\xff", b"a/l")
        found = listing.parse("/x", listed(ROOT, *entries, link))
        assert [entry.name.encode(errors="surrogateescape") for entry in found] == [b"", *names, b"a/l"]
        assert found[0] == ("d", 0o755, 1_600_000_000_500_000_000, "", "")
        assert (found[1].mode, found[1].modified) == (0o7777, -12_250_000_000)
        assert found[-1].link_target == "../../etc\n\udcff"

    @pytest.mark.parametrize(
        "name",
        [b"..", b".", b"", b"/etc/x", b"/", b"a/..", b"a/../../x", b"a/.", b"a//x", b"a/", b"a/x/y", b"b/x", b"./x",
         b"x" * 256, b"a/" + b"\xc3\xa4" * 128],
    )  # fmt: skip
    def test_names_that_are_not_in_it(self, name: bytes) -> None:
        directory = (b"d", b"755", b"0", b"", b"a")
        for entry in ((*FILE, name), (b"d", b"755", b"0", b"", name), (b"l", b"777", b"0", b"/etc", name)):
            with pytest.raises(ClientError, match=r"^/x: the guest lists .*, which "):
                listing.parse("/x", listed(ROOT, directory, entry))

    def test_a_path_that_no_call_takes(self) -> None:
        parts = [b"y" * 200] * 21
        deep = [(b"d", b"755", b"0", b"", b"/".join(parts[:count])) for count in range(1, len(parts) + 1)]
        with pytest.raises(ClientError, match="longer than 4095 bytes"):
            listing.parse("/x", listed(ROOT, *deep))

    @pytest.mark.parametrize("first", [b"l", b"f"])
    def test_what_is_below_no_directory(self, first: bytes) -> None:
        leads = b"/etc" if first == b"l" else b""
        with pytest.raises(ClientError, match="'a/b', which is not in a directory that was listed before it"):
            listing.parse("/x", listed(ROOT, (first, b"777", b"0", leads, b"a"), (*FILE, b"a/b")))

    @pytest.mark.parametrize("kinds", [(b"l", b"d"), (b"d", b"l"), (b"f", b"f"), (b"d", b"d"), (b"l", b"f")])
    def test_a_name_that_comes_twice(self, kinds: tuple[bytes, bytes]) -> None:
        twice = [(kind, b"755", b"0", b"/etc" if kind == b"l" else b"", b"a") for kind in kinds]
        with pytest.raises(ClientError, match="'a', which it has listed before"):
            listing.parse("/x", listed(ROOT, *twice))

    @pytest.mark.parametrize("mode", [b"", b"8", b"-1", b"0x1ff", b"10000", b"37777777777", b"7" * 5000, b" 644"])
    def test_modes(self, mode: bytes) -> None:
        with pytest.raises(ClientError, match="whose mode is not an octal number"):
            listing.parse("/x", listed(ROOT, (b"f", mode, b"0", b"", b"a")))

    @pytest.mark.parametrize(
        "when",
        [b"", b"nan", b"inf", b"-inf", b"1e300", b"-", b".5", b"1.", b"9" * 19, b"-" + b"9" * 19,
         b"9" * 5000, b"0." + b"1" * 5000, b"1_0", b"\xd9\xa1"],
    )  # fmt: skip
    def test_times(self, when: bytes) -> None:
        with pytest.raises(ClientError, match=r"whose modification time is (not a number|out of range)"):
            listing.parse("/x", listed(ROOT, (b"f", b"644", when, b"", b"a")))

    @pytest.mark.parametrize("kind", [b"", b"ff", b"\xff", b"1", b"\n"])
    def test_types(self, kind: bytes) -> None:
        with pytest.raises(ClientError, match="whose type is not a letter"):
            listing.parse("/x", listed(ROOT, (kind, b"644", b"0", b"", b"a")))

    @pytest.mark.parametrize(("kind", "leads"), [(b"l", b""), (b"l", b"x" * 4096), (b"f", b"/etc"), (b"d", b"/etc")])
    def test_links(self, kind: bytes, leads: bytes) -> None:
        with pytest.raises(ClientError, match="link"):
            listing.parse("/x", listed(ROOT, (kind, b"644", b"0", leads, b"a")))

    @pytest.mark.parametrize("root", [(b"f", b"644", b"0", b"", b""), (b"l", b"777", b"0", b"/etc", b"")])
    def test_a_root_that_is_not_a_directory(self, root: tuple[bytes, ...]) -> None:
        with pytest.raises(ClientError, match="root"):
            listing.parse("/x", listed(root))

    @pytest.mark.parametrize(
        "text", [b"", b"\0", b"d", listed(ROOT)[:-1], listed(ROOT, ROOT[:4]), listed(ROOT) + b"x"]
    )
    def test_a_list_that_breaks_off(self, text: bytes) -> None:
        with pytest.raises(ClientError, match="is incomplete"):
            listing.parse("/x", text)

    def test_a_list_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        many = listed(ROOT, *((*FILE, b"%d" % number) for number in range(100)))
        monkeypatch.setattr(listing, "MAX_ENTRIES", 100)
        with pytest.raises(ClientError, match="more than 100 entries"):
            listing.parse("/x", many)
        with pytest.raises(ClientError, match="more than 16 MiB"):
            listing.parse("/x", bytes(listing.MAX_BYTES + 1))


@pytest.mark.forks
@pytest.mark.parametrize("which", AGENTS_AND_BUSYBOX)
def test_both_clients_list_a_tree(which: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "d" / "empty").mkdir(parents=True)
    (tree / "d" / "a b\n").write_bytes(b"x")
    (tree / "d" / "a b\n").chmod(0o4640)
    (tree / "link").symlink_to("d/\udce9")
    os.mkfifo(tree / "pipe")
    (tmp_path / "to-tree").symlink_to(tree)
    for path in (tree, *tree.rglob("*")):
        os.utime(path, ns=(0, 1_600_000_000_250_000_000), follow_symlinks=False)

    async def awaited(address: str) -> list[TreeEntry]:
        async with AsyncClient(address) as client:
            return await client.list_tree(str(tree))

    with listening(which, tmp_path) as address:
        with Client(address) as client:
            found = client.list_tree(str(tree))
            assert client.list_tree(str(tmp_path / "to-tree")) == found
            for wrong in (tree / "pipe", tree / "missing"):
                with pytest.raises(ClientError, match=f"^{wrong}: "):
                    client.list_tree(str(wrong))
        assert asyncio.run(awaited(address)) == found
    assert found[0].name == ""
    assert {entry.modified for entry in found} == {1_600_000_000_250_000_000}
    modes = {path: (tree / path).lstat().st_mode & 0o7777 for path in ("", "d", "d/empty", "link", "pipe")}
    assert {(entry.kind, entry.mode, entry.link_target, entry.name) for entry in found} == {
        ("d", modes[""], "", ""),
        ("d", modes["d"], "", "d"),
        ("d", modes["d/empty"], "", "d/empty"),
        ("f", 0o4640, "", "d/a b\n"),
        ("l", modes["link"], "d/\udce9", "link"),
        ("p", modes["pipe"], "", "pipe"),
    }
