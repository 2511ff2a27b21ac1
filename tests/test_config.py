"""Options and configuration file: what wins, what is refused in which words, what --dump-conf prints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qga import config
from qga.config import Action, Config, ConfigError
from qga.options import AUDIT_LOG, BOOL, METHOD, NUMBER, OPTIONS, PATH, PROFILE, Option, markdown

if TYPE_CHECKING:
    from pathlib import Path

NO_FILE = {"QGA_CONF": "/nonexistent/qemu-ga.conf"}


def load(*argv: str) -> Config:
    return config.load(argv, NO_FILE).config


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "qemu-ga.conf"


def load_file(conf: Path, text: str, *argv: str) -> config.Loaded:
    conf.write_text(text)
    return config.load(argv, {"QGA_CONF": str(conf)})


def refused(*argv: str, environ: dict[str, str] = NO_FILE) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(argv, environ)
    return str(caught.value)


def test_without_anything_the_defaults_of_the_reference() -> None:
    loaded = config.load([], NO_FILE)
    assert loaded.action is Action.RUN
    assert loaded.warnings == ()
    assert loaded.config == config.defaults()
    assert config.dump(loaded.config) == (
        "[general]\n"
        "daemon=false\n"
        "method=virtio-serial\n"
        "path=/dev/virtio-ports/org.qemu.guest_agent.0\n"
        "pidfile=/var/run/qemu-ga.pid\n"
        "statedir=/var/run\n"
        "verbose=false\n"
        "debug=false\n"
        "retry-path=false\n"
        "block-rpcs=\n"
        "allow-rpcs=\n"
    )


def test_the_dump_shows_everything_in_the_order_of_the_reference() -> None:
    given = load(
        *["-dvr", "--debug", "-munix-listen", "--path=/run/ga", "-l", "/l", "-f", "/p", "-t", "/t", "-F/h"],
        *["-a", "x", "-a", "y,z", "-b", "a,b,c"],
    )
    assert config.dump(given).splitlines() == [
        "[general]",
        "daemon=true",
        "method=unix-listen",
        "path=/run/ga",
        "logfile=/l",
        "pidfile=/p",
        "fsfreeze-hook=/h",
        "statedir=/t",
        "verbose=true",
        "debug=true",
        "retry-path=true",
        "block-rpcs=c,b,a",
        "allow-rpcs=x,z,y",
    ]


def test_a_dump_read_back_says_the_same(conf: Path) -> None:
    given = load("-dr", "-mvsock-listen", "-p3:1234", "-l", " odd\\name\t ", "-F", "-b", "a,b")
    again = load_file(conf, config.dump(given)).config
    assert again._replace(block_rpcs=again.block_rpcs[::-1]) == given


@pytest.mark.parametrize(
    ("argv", "changes"),
    [
        (["--verb"], {"verbose": True}),
        (["--daemon"], {"daemon": True}),
        (["--s=/x"], {"statedir": "/x"}),  # whatever options of ours begin so
        (["--a=a"], {"allow_rpcs": ("a",)}),
        (["--block=a"], {"block_rpcs": ("a",)}),
        (["-vd", "-r"], {"verbose": True, "daemon": True, "retry_path": True}),
        (["-vp/x"], {"verbose": True, "path": "/x"}),
        (["-p", "/x", "-p", "/y"], {"path": "/y"}),
        (["x", "-v", "y", "-"], {"verbose": True}),
        (["-v", "--", "-d", "--bogus"], {"verbose": True}),
        (["-s", "install", "-v"], {"verbose": True}),
        (["--debug"], {"debug": True, "verbose": True}),
        (["-misa-serial"], {"method": "isa-serial", "path": "/dev/ttyS0"}),
        (["-l", "", "-p", "", "-a", ""], {}),
        (["-a", "a; b ,c;"], {"allow_rpcs": ("c", "b", "a")}),
        (["-F"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook"}),
        (["-F", "/x"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook"}),
        (["-F", "-v"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook", "verbose": True}),
        (["-vF", "x"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook", "verbose": True}),
        (["-F/x y"], {"fsfreeze_hook": "/x y"}),
        (["-vF/x"], {"fsfreeze_hook": "/x", "verbose": True}),
        (["--fsfreeze-hook", "/x"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook"}),
        (["--fsfreeze-hook=/x"], {"fsfreeze_hook": "/x"}),
        (["--fs", "/x"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook"}),
        (["--fs=/x"], {"fsfreeze_hook": "/x"}),
        (["-pF"], {"path": "F"}),
    ],
)
def test_the_command_line_is_read_as_by_getopt_long(argv: list[str], changes: dict[str, object]) -> None:
    assert load(*argv) == config.defaults(**changes)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--bogus"], ["option --bogus not recognized", "--help"]),
        (["--vrebose"], ["--vrebose", "did you mean --verbose?"]),
        (["-q"], ["option -q not recognized", "--help"]),
        (["--blacklist=guest-exec"], ["gone", "--block-rpcs"]),
        (["--ver"], ["option --ver not a unique prefix", "--verbose or --version"]),
        (["-m"], ["option -m requires argument"]),
        (["--path"], ["option --path requires argument"]),
        (["--verbose=3"], ["option --verbose must not have an argument"]),
        (["-m", "serial"], ["--method", "'serial'", "virtio-serial, isa-serial, unix-listen, vsock-listen"]),
        (["-m", ""], ["--method", "''"]),
        (["-m", "unix-listen"], ["must specify a path for this channel"]),
        (["-m", "vsock-listen"], ["must specify a path for this channel"]),
        (["-a", ","], ["--allow-rpcs", "','"]),
        (["-b", " ; "], ["--block-rpcs"]),
        (["--audit-log", "jornal"], ["--audit-log", "'jornal'", "journal, off or an absolute path"]),
        (["--audit-log=off", "--audit-required"], ["audit-required", "audit-log is off"]),
    ],
)
def test_what_cannot_be_meant_is_refused(argv: list[str], words: list[str]) -> None:
    text = refused(*argv)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("path", ["", "3", "3:", ":1", "a:1", "0x3:1", "-1:2", "3:4294967296", "3:1 ", "٣:1"])
def test_a_vsock_address_is_two_decimal_numbers(path: str) -> None:
    with pytest.raises(ConfigError, match="<cid>:<port>"):
        config.vsock_address(path)


def test_a_vsock_address_is_checked_at_the_start() -> None:
    assert load("-mvsock-listen", "-p4294967295:1234").path == "4294967295:1234"
    assert "<cid>:<port>" in refused("-mvsock-listen", "-p/run/x")
    assert config.vsock_address("4294967295:1234") == (4294967295, 1234)


def test_the_file_gives_way_to_the_command_line_and_lists_add_up(conf: Path) -> None:
    text = "[general]\nmethod=isa-serial\npath=/f\nblock-rpcs=a;b\nverbose=false\nretry-path=1\nstatedir=/s\n"
    given = load_file(conf, text, "-v", "-p", "/c", "-b", "c").config
    assert given == config.defaults(
        method="isa-serial",
        path="/c",
        statedir="/s",
        block_rpcs=("b", "a", "c"),
        verbose=True,
        retry_path=True,
    )


def test_an_empty_value_in_the_file_is_as_if_not_given(conf: Path) -> None:
    given = load_file(conf, "[general]\nallow-rpcs=\nlogfile=\nfsfreeze-hook=\npath=\n").config
    assert given == config.defaults()


@pytest.mark.parametrize("text", ["", "[other]\nverbose=maybe\nblacklist=x\n"])
def test_other_groups_are_nobodys_business(conf: Path, text: str) -> None:
    loaded = load_file(conf, text)
    assert (loaded.action, loaded.config, loaded.warnings) == (Action.RUN, config.defaults(), ())


def test_an_unknown_key_is_a_warning_naming_place_and_nearest_key(conf: Path) -> None:
    loaded = load_file(conf, "[general]\nblock-rcps=guest-exec\n\nzzz=1\n")
    assert loaded.warnings == (
        f"{conf}, line 2: unknown key 'block-rcps' ignored (did you mean 'block-rpcs'?)",
        f"{conf}, line 4: unknown key 'zzz' ignored",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[general]\n\nverbose=yes\n", ["line 3", "verbose", "'yes'", "true, false, 1 or 0"]),
        ("[general]\nverbose=\n", ["line 2", "verbose", "''"]),
        ("[general]\nmethod=tcp\n", ["line 2", "method", "'tcp'", "unix-listen"]),
        ("[general]\nverbose\n", ["line 2", "'verbose'"]),
        ("verbose=1\n", ["line 1", "before any [group]"]),
        ("[general]\npath=a\\x\n", ["line 2", "path", "\\x"]),
        ("[general]\nblacklist=guest-exec\n", ["line 2", "'blacklist'", "'block-rpcs'"]),
        ("[general]\nallow-rpcs=;\n", ["line 2", "allow-rpcs", "';'"]),
    ],
)
def test_a_broken_file_stops_the_start_naming_the_place(conf: Path, text: str, words: list[str]) -> None:
    conf.write_text(text)
    message = refused(environ={"QGA_CONF": str(conf)})
    assert all(word in message for word in [str(conf), *words]), message


def test_a_value_that_is_no_utf8_is_refused(conf: Path) -> None:
    conf.write_bytes(b"[general]\npath=/\xe4\n")
    message = refused(environ={"QGA_CONF": str(conf)})
    assert "line 2" in message
    assert "UTF-8" in message


def test_a_file_named_by_c_must_exist_and_the_last_one_counts(conf: Path) -> None:
    conf.write_text("[general]\nverbose=1\n")
    assert config.load(["-c", "/nonexistent", "-c", str(conf)], {}).config.verbose
    assert refused("-c", "/nonexistent") == (
        "error loading configuration from path: /nonexistent, No such file or directory"
    )


def test_c_goes_before_the_environment(conf: Path, tmp_path: Path) -> None:
    conf.write_text("[general]\nstatedir=/from-c\n")
    assert config.load(["-c", str(conf)], {"QGA_CONF": str(tmp_path)}).config.statedir == "/from-c"


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    assert "Is a directory" in refused(environ={"QGA_CONF": str(tmp_path)})


@pytest.mark.parametrize(
    ("argv", "action"),
    [
        (["-h"], Action.HELP),
        (["--version"], Action.VERSION),
        (["-V", "-h"], Action.VERSION),
        (["-D"], Action.DUMP),
        (["-D", "-V"], Action.VERSION),
        (["-b", "help"], Action.LIST_COMMANDS),
        (["-a?", "-D"], Action.LIST_COMMANDS),
        (["-b", "help,x"], Action.RUN),
    ],
)
def test_actions(argv: list[str], action: Action) -> None:
    assert config.load(argv, NO_FILE).action is action


def test_a_broken_file_does_not_prevent_help(conf: Path) -> None:
    conf.write_text("verbose\n")
    environ = {"QGA_CONF": str(conf)}
    assert config.load(["--help"], environ).action is Action.HELP
    with pytest.raises(ConfigError):
        config.load(["-D"], environ)


def test_under_socket_activation_no_path_is_needed_or_used() -> None:
    environ = NO_FILE | {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    assert config.load(["-m", "unix-listen"], environ).config.path is None
    assert config.load(["-p", "/x"], environ).config.path is None
    for other in ({"LISTEN_PID": "1"}, {"LISTEN_FDS": "0"}):
        with pytest.raises(ConfigError, match="must specify a path"):
            config.load(["-m", "unix-listen"], environ | other)


def test_listed_names_must_be_commands() -> None:
    known = ["guest-ping", "guest-exec"]
    config.check_names(config.defaults(allow_rpcs=("guest-ping",), block_rpcs=("guest-exec",)), known)
    config.check_names(config.defaults(allow_rpcs=("guest-ping", "guest-get-devices")), known)
    with pytest.raises(ConfigError, match=r"^block-rpcs: .*'guest-exce' \(did you mean 'guest-exec'\?\)"):
        config.check_names(config.defaults(block_rpcs=("guest-exce",)), known)
    with pytest.raises(ConfigError, match=r"^allow-rpcs: .*'x'"):
        config.check_names(config.defaults(allow_rpcs=("guest-ping", "x")), known)


def test_paths_are_made_absolute_for_a_process_that_leaves_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = config.defaults(path="ga.sock", logfile="log", pidfile="/p", statedir=".", fsfreeze_hook=None)
    assert config.absolute_paths(given) == config.defaults(
        path=f"{tmp_path}/ga.sock", logfile=f"{tmp_path}/log", pidfile="/p", statedir=str(tmp_path)
    )
    vsock = config.defaults(method="vsock-listen", path="3:1")
    assert config.absolute_paths(vsock).path == "3:1"


def test_every_option_is_a_field_and_every_field_an_option() -> None:
    assert [option.field for option in OPTIONS] == list(Config._fields)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_can_be_set_both_ways(option: Option, conf: Path) -> None:
    by_kind = {BOOL: "true", PATH: "/x", NUMBER: "7", METHOD: "isa-serial", PROFILE: "info", AUDIT_LOG: "/x"}
    text = by_kind.get(option.kind, "x")
    base = config.defaults()
    from_file = load_file(conf, f"[general]\n{option.key}={text}\n").config
    assert getattr(from_file, option.field) != getattr(base, option.field)
    for flag in option.flags:
        argument = "" if option.kind is BOOL else f"={text}" if flag.startswith("--") else text
        assert load(flag + argument) == from_file


def test_the_table_for_the_readme_has_every_option() -> None:
    lines = markdown().splitlines()
    assert lines[:2] == ["| option | key in qemu-ga.conf | default | meaning |", "|---|---|---|---|"]
    assert len({line.count("|") for line in lines}) == 1
    body = "\n".join(lines)
    for option in OPTIONS:
        assert all(f"`{flag}`" in body for flag in option.flags)
        assert f"| `{option.key}` |" in body
    assert "| `-t`, `--statedir` DIR | `statedir` | `/var/run` |" in body
    assert "`--dump-conf`" in body
