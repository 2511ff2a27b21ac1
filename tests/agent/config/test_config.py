"""Options and configuration file: precedence, errors and their texts, and what --dump-conf prints."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.agent import cli, config
from qga.agent.config import Action, Config, ConfigError, cmdline
from qga.agent.config.options import AUDIT_LOG, BOOL, METHOD, NUMBER, OPTIONS, PATH, PROFILE, Option, markdown

if TYPE_CHECKING:
    from pathlib import Path

NO_FILE = {"QGA_CONF": "/dev/null"}


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


def test_without_options_the_defaults_are_those_of_the_reference() -> None:
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


def test_a_dump_read_back_gives_the_same_configuration(conf: Path) -> None:
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
        (["-a", "a; b ,c;"], {"allow_rpcs": ("c", "a", "b")}),
        (["-F"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook"}),
        (["-F", "/x"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook"}),
        (["-F", "-v"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook", "verbose": True}),
        (["-vF", "x"], {"fsfreeze_hook": "/etc/qemu/fsfreeze-hook", "verbose": True}),
        (["-F/x y"], {"fsfreeze_hook": "/x y"}),
        (["-vF/x"], {"fsfreeze_hook": "/x", "verbose": True}),
        (["-l", "-F"], {"logfile": "-F"}),
        (["-l", "-vF"], {"logfile": "-vF"}),
        (["-p", "--stat"], {"path": "--stat"}),
        (["-p", "--", "-v"], {"path": "--", "verbose": True}),
        (["--path", "--fsfreeze-hook"], {"path": "--fsfreeze-hook"}),
        (["--path=", "-v"], {"verbose": True}),
        (["--path==x"], {"path": "=x"}),
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
        (["--blacklist=guest-exec"], ["removed", "--block-rpcs"]),
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
        (["-b", "guest-exec", "guest-file-open"], ["'guest-file-open' is not an option", "separated by ','"]),
        (["-a", "guest-ping,", "guest-info"], ["'guest-info' is not an option"]),
        (["block-rpcs=guest-exec"], ["'block-rpcs=guest-exec' is not an option (did you mean --block-rpcs?)"]),
        (["\u2014profile", "info"], ["is not an option (did you mean --profile?)"]),
        (["\u2013\u2013audit-required"], ["is not an option (did you mean --audit-required?)"]),
        (["profile", "info"], ["'profile' is not an option (did you mean --profile?)"]),
        (["-v", "--", "--block-rpcs=guest-exec"], ["did you mean --block-rpcs?"]),
        (["deny-everything"], ["'deny-everything' is not an option, and may be meant to restrict something"]),
        (["--profile", "info", "--profile", "full"], ["option --profile is given as 'info' and 'full'"]),
        (["--policy=/a", "--policy=/b"], ["option --policy is given as '/a' and '/b'"]),
        (["--max-execs=1", "--max-execs=0"], ["option --max-execs is given as '1' and '0'"]),
        (["--PROFILE=info"], ["option --PROFILE not recognized (did you mean --profile?)"]),
        (["--block_rpcs=a"], ["option --block_rpcs not recognized (did you mean --block-rpcs?)"]),
        (["--pro", "info", "--pro"], ["option --profile requires argument"]),
        (["--p=info"], ["option --p not a unique prefix"]),
        (["--au=/x"], ["option --au not a unique prefix", "--audit-log or --audit-required"]),
        (["--socket-users", ""], ["--socket-users", "''"]),
        (["--audit-log", "jornal"], ["--audit-log", "'jornal'", "journal, off or an absolute path"]),
        (["--audit-log=off", "--audit-required"], ["audit-required", "audit-log is off"]),
    ],
)
def test_what_is_not_valid_is_refused(argv: list[str], words: list[str]) -> None:
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
        block_rpcs=("a", "b", "c"),
        verbose=True,
        retry_path=True,
    )


def test_words_that_are_not_options_are_ignored_with_a_warning() -> None:
    loaded = config.load(["x", "-v", "-F", "/hook", "--", "-d"], NO_FILE)
    assert loaded.config == config.defaults(verbose=True, fsfreeze_hook="/etc/qemu/fsfreeze-hook")
    assert loaded.warnings == tuple(
        f"{word!r} on the command line is ignored: it is not an option" for word in ("x", "/hook", "-d")
    )


def test_restrictions_add_up_when_given_repeatedly() -> None:
    given = load("--block-rpcs", "a", "--block-rpcs", "b", "--socket-users=root", "--socket-users=0", "--policy=/a")
    assert given.block_rpcs == ("a", "b")
    assert given.socket_users == ("root", "0")
    assert load("--policy=/a", "--policy=/a").policy == "/a"


def test_a_list_is_dumped_as_the_reference_does(conf: Path) -> None:
    """The file is that of the unit test of QEMU's agent, which reads the list at its ';'."""
    text = (
        "[general]\ndaemon=false\nmethod=virtio-serial\npath=/path/to/org.qemu.guest_agent.0\n"
        "pidfile=/var/foo/qemu-ga.pid\nstatedir=/var/state\nverbose=true\nblock-rpcs=guest-ping;guest-get-time\n"
    )
    given = load_file(conf, text).config
    assert given.block_rpcs == ("guest-ping", "guest-get-time")
    assert "\nblock-rpcs=guest-ping;guest-get-time\n" in config.dump(given)
    again = load_file(conf, text, "-b", "x;y,z", "-b", "u").config
    assert again.block_rpcs == ("guest-ping", "guest-get-time", "z", "x", "y", "u")
    assert "\nblock-rpcs=guest-ping;guest-get-time,z,x;y,u\n" in config.dump(again)


WORDS = ["-l", "-F", "-vF", "--stat", "--verb", "--", "-", "", "x", "--path=/x", "-p", "--help", "-D", "help,x"]
VALUED = [(option, flag) for option in OPTIONS if option.kind is not BOOL for flag in option.flags]


@given(st.lists(st.tuples(st.sampled_from(VALUED), st.sampled_from(WORDS), st.booleans())))
def test_a_value_is_never_taken_for_an_option(
    options: list[tuple[tuple[Option, str], str, bool]],
) -> None:
    argv: list[str] = []
    texts: dict[str, list[str]] = {option.key: [] for option in OPTIONS}
    for (option, flag), value, attached in options:
        if option.ours and not option.kind.add_up and texts[option.key]:
            continue  # of these only one may be given
        long = flag.startswith("--")
        if option.bare is not None and not (attached and (value or long)):
            argv.append(flag)
            texts[option.key].append(option.bare)
        else:
            argv += [f"{flag}={value}" if long else flag + value] if attached and (value or long) else [flag, value]
            texts[option.key].append(value)
    given = cmdline.parse(argv)
    assert given.texts == texts
    assert given.warnings == ()


@pytest.mark.forks
@pytest.mark.skipif(shutil.which("getopt") is None, reason="util-linux is not installed")
def test_getopt_long_reads_the_same() -> None:
    """Compared with getopt(1), which is glibc's: the same options and values, or an error from both."""
    rows = {flag: option for option in OPTIONS if not option.ours for flag in option.flags}
    takes = {flag: "" if option.kind is BOOL else "::" if option.bare else ":" for flag, option in rows.items()}
    short = "".join(flag[1] + takes[flag] for flag in rows if not flag.startswith("--"))
    long = ",".join(flag[2:] + takes[flag] for flag in rows if flag.startswith("--"))
    environment = {name: value for name, value in os.environ.items() if name != "POSIXLY_CORRECT"}
    words = [*rows, *WORDS[:10], "-vr", "-vl", "-vl-F", "-drF", "--fsfreeze-h", "--bogus", "-q", "--verbose=1"]
    draw = random.Random(4)
    for _ in range(200):
        argv = [draw.choice(words) for _ in range(draw.randint(1, 5))]
        done = subprocess.run(
            ["getopt", "--quiet", "--options", short, "--longoptions", long, "--", *argv],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        try:
            found = [(flag, text) for flag, text in cmdline._scan(argv) if flag]
        except ConfigError:
            assert done.returncode != 0, argv
            continue
        assert done.returncode == 0, argv
        printed = iter(shlex.split(done.stdout))
        expected = []
        for flag in iter(printed.__next__, "--"):
            text = next(printed) if takes[flag] else ""
            expected.append((flag, text or rows[flag].bare or ""))
        assert found == expected, argv


def test_an_empty_value_in_the_file_is_as_if_absent(conf: Path) -> None:
    given = load_file(conf, "[general]\nallow-rpcs=\nlogfile=\nfsfreeze-hook=\npath=\n").config
    assert given == config.defaults()


def test_an_empty_file_is_fine(conf: Path) -> None:
    loaded = load_file(conf, "# nothing\n")
    assert (loaded.action, loaded.config, loaded.warnings) == (Action.RUN, config.defaults(), ())


# What a slip of the pen makes of a file that was to close something.
MISTYPED = [
    ("[General]\nblock-rpcs=guest-exec", "line 1: unknown group 'General', expected [general]"),
    ("[ general ]\nblock-rpcs=guest-exec", "line 1: unknown group ' general ', expected [general]"),
    ("[genral]\nblock-rpcs=guest-exec", "line 1: unknown group 'genral', expected [general]"),
    ("[general]\nverbose=1\n[policy]\nprofile=info", "line 3: unknown group 'policy', expected [general]"),
    ("[general]\nverbose=1\n[general]\nprofile=info", "line 3: [general] is given again, first in line 1"),
    ("[general]\nPROFILE=info", "line 2: unknown key 'PROFILE' (did you mean 'profile'?)"),
    ("[general]\nprofil=info", "line 2: unknown key 'profil' (did you mean 'profile'?)"),
    ("[general]\nblock-rpc=guest-exec", "line 2: unknown key 'block-rpc' (did you mean 'block-rpcs'?)"),
    ("[general]\nblock-rcps=guest-exec", "line 2: unknown key 'block-rcps' (did you mean 'block-rpcs'?)"),
    ("[general]\nblock_rpcs=guest-exec", "line 2: unknown key 'block_rpcs' (did you mean 'block-rpcs'?)"),
    ("[general]\nallowrpcs=guest-ping", "line 2: unknown key 'allowrpcs' (did you mean 'allow-rpcs'?)"),
    ("[general]\naudit-requird=true", "line 2: unknown key 'audit-requird' (did you mean 'audit-required'?)"),
    ("[general]\nsocket-user=root", "line 2: unknown key 'socket-user' (did you mean 'socket-users'?)"),
    ("[general]\nMax_Execs=3", "line 2: unknown key 'Max_Execs' (did you mean 'max-execs'?)"),
    ("[general]\nprofile[de]=info", "line 2: unknown key 'profile[de]' (did you mean 'profile'?)"),
    ("[general]\ndenied-commands=guest-exec", "line 2: unknown key 'denied-commands': it may be meant to restrict"),
    ("[general]\ninclude=/etc/qemu/strict.conf", "line 2: unknown key 'include': it may be meant to restrict"),
    ("[general]\nguest-exec=disabled", "line 2: unknown key 'guest-exec': it may be meant to restrict"),
    ("[general]\nsuperusers-only=1", "line 2: unknown key 'superusers-only': it may be meant to restrict something"),
    ("[general]\nNoShellForHosts_Forbidden=1", "line 2: unknown key 'NoShellForHosts_Forbidden': it may be meant"),
    ("[general]\nprofile=info\nprofile=full", "line 3: 'profile' is given again, first in line 2"),
    ("[general]\nblock-rpcs=guest-exec\n block-rpcs = guest-ping", "line 3: 'block-rpcs' is given again"),
    ("[general]\nsocket-users=", "line 2, socket-users: '' is not valid"),
    ("[general]\nsocket-users=;", "line 2, socket-users: ';' is not valid"),
    ("[general]\nexclude-nics=,", "line 2, exclude-nics: ',' is not valid"),
    ("[general]\naudit-log=", "line 2, audit-log: '' is not valid, expected journal, off or an absolute path"),
]


@pytest.mark.parametrize(("text", "words"), MISTYPED)
def test_a_mistyped_file_allows_nothing_and_the_check_agrees_with_a_start(
    conf: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    conf.write_text(text + "\n")
    monkeypatch.setenv("QGA_CONF", str(conf))
    assert cli.main([]) == 1
    started = capfd.readouterr().err
    assert started.count(str(conf)) == 1
    assert words in started
    assert cli.main(["--check-config"]) == 1
    assert capfd.readouterr().out == "problem: " + started.removeprefix("qemu-ga: ")


def test_all_mistyped_keys_are_reported_at_once(conf: Path) -> None:
    conf.write_text("[general]\nprofil=info\nverbose=maybe\nblacklist=x\n[other]\n")
    with pytest.raises(ConfigError) as caught:
        config.load([], {"QGA_CONF": str(conf)})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        f"{conf}, line 5",
        f"{conf}, line 2",
        f"{conf}, line 4",
        f"{conf}, line 3, verbose",
    ]


@pytest.mark.parametrize("key", ["access", "writable", "network", "shell", "ssh-keys", "hook", "freeze", "passwords"])
def test_an_unknown_key_that_may_restrict_stops_the_start(conf: Path, key: str) -> None:
    conf.write_text(f"[general]\n{key}=0\n")
    assert f"{conf}, line 2: unknown key {key!r}" in refused(environ={"QGA_CONF": str(conf)})


def test_an_unknown_key_that_cannot_restrict_is_a_warning(conf: Path) -> None:
    loaded = load_file(conf, "[general]\ndaemonize=true\n\nzzz=1\n")
    assert loaded.warnings == (
        f"{conf}, line 2: 'daemonize' is ignored: QEMU's manual has it, and no agent reads it: the key is 'daemon'",
        f"{conf}, line 4: unknown key 'zzz' ignored",
    )
    assert not loaded.config.daemon


def test_a_file_that_the_environment_names_and_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    loaded = config.load([], {"QGA_CONF": f"{tmp_path}/none"})
    assert loaded.warnings == (
        f"{tmp_path}/none, which QGA_CONF names, does not exist: no configuration file is read",
    )
    assert loaded.config == config.defaults()


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
        ("[general]\nprofile=info # a comment\n", ["line 2", "profile", "'info # a comment'"]),
    ],
)
def test_a_broken_file_stops_the_start_naming_the_place(conf: Path, text: str, words: list[str]) -> None:
    conf.write_text(text)
    message = refused(environ={"QGA_CONF": str(conf)})
    assert all(word in message for word in [str(conf), *words]), message


def test_a_value_that_is_not_utf8_is_refused(conf: Path) -> None:
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


def test_a_dangling_link_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The configuration exists, but for example on a disk that is not mounted."""
    path = tmp_path / "qemu-ga.conf"
    path.symlink_to(tmp_path / "nowhere")
    assert refused(environ={"QGA_CONF": str(path)}) == (
        f"error loading configuration from path: {path}, No such file or directory"
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
    with pytest.raises(
        ConfigError, match=r"^block-rpcs: .*'guest-exce' is not a command \(did you mean 'guest-exec'\?\)"
    ):
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
