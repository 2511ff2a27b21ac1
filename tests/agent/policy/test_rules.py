"""Policy files: what is valid, and the errors for the rest. A mistake never allows anything."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qga.agent import config
from qga.agent.config import options, reload
from qga.agent.config.options import ConfigError
from qga.agent.policy import Policy, rules
from qga.agent.policy.rules import PolicyError, Rules
from qga.agent.service import unit
from qga.protocol import schema

COMMANDS = schema.load().commands
KUBEVIRT = {
    "guest-ping", "guest-get-time", "guest-info", "guest-shutdown", "guest-network-get-interfaces",
    "guest-get-fsinfo", "guest-get-host-name", "guest-get-users", "guest-get-timezone", "guest-get-osinfo",
}  # fmt: skip


def load(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return rules.load(str(path), COMMANDS)


def permitted(read: Rules) -> set[str]:
    """Return the commands that are allowed with at least some arguments."""
    policy = Policy(rules=read)
    return {name for name in COMMANDS if policy.permits(name)}


def decided(read: Rules, name: str, **arguments: Any) -> tuple[bool, int]:
    """Return whether the command is allowed, and the line of the rule that decides."""
    policy = Policy(rules=read)
    decision = policy.decide(COMMANDS[name], arguments, {}) if name in policy.by_argument else None
    rule = read.chains[name][0].where if decision is None else decision.rule
    allowed = policy.permits(name) if decision is None else decision.allowed
    return allowed, int(rule.split(", line ")[1].split(":")[0])


EXAMPLE = """\
default = "deny"

[[rule]]
allow = ["guest-ping", "guest-sync*", "guest-info"]
[[rule]]
deny = ["guest-set-user-password"]
username = ["root", "toor"]
[[rule]]
allow = ["guest-set-user-password"]
crypted = [true]
[[rule]]
allow = ["guest-set-user-password"]
username = ["vm-*"]
crypted = [false]
"""


def test_first_rule_that_matches_decides(tmp_path: Path) -> None:
    read = load(tmp_path, EXAMPLE)
    assert decided(read, "guest-sync", id=5) == (True, 4)
    assert decided(read, "guest-set-user-password", username="root", crypted=True) == (False, 6)
    assert decided(read, "guest-set-user-password", username="bob", crypted=True) == (True, 9)
    assert decided(read, "guest-set-user-password", username="vm-1", crypted=False) == (True, 12)
    assert decided(read, "guest-set-user-password", username="bob", crypted=False) == (False, 1)
    assert decided(read, "guest-get-osinfo") == (False, 1)
    assert permitted(read) == {
        "guest-ping", "guest-sync", "guest-sync-delimited", "guest-info", "guest-set-user-password",
    }  # fmt: skip
    assert read.warnings == ()


def test_default_may_allow(tmp_path: Path) -> None:
    read = load(tmp_path, 'default = "allow"\n[[rule]]\ndeny = ["guest-exec*", "guest-file-*"]\n')
    assert permitted(read) == {name for name in COMMANDS if not name.startswith(("guest-exec", "guest-file"))}


def test_commands_that_no_argument_can_make_allowed(tmp_path: Path) -> None:
    """Commands that a rule forbids or allows for some arguments only are not among them."""
    text = 'default = "%s"\n[[rule]]\n%s = ["guest-shutdown"]\nmode = ["halt"]\n'
    assert "guest-shutdown" in permitted(load(tmp_path, text % ("allow", "deny")))
    assert "guest-shutdown" in permitted(load(tmp_path, text % ("deny", "allow")))
    assert "guest-shutdown" not in permitted(load(tmp_path, text % ("deny", "deny")))
    later = '[[rule]]\nallow = ["guest-shutdown"]\n'
    assert "guest-shutdown" in permitted(load(tmp_path, text % ("deny", "deny") + later))
    first = text % ("deny", "deny") + '[[rule]]\ndeny = ["guest-shutdown"]\n' + later
    assert "guest-shutdown" not in permitted(load(tmp_path, first))


HANDLED = {f"guest-file-{verb}" for verb in ("close", "read", "write", "seek", "flush")}


def test_handles_follow_the_opening(tmp_path: Path) -> None:
    opening = 'default = "deny"\n[[rule]]\nallow = ["guest-file-open"]\npath = ["/var/log/**"]\n'
    assert permitted(load(tmp_path, opening)) == {"guest-file-open", *HANDLED}
    running = 'default = "deny"\n[[rule]]\nallow = ["guest-exec"]\npath = ["/usr/bin/uptime"]\nenv = []\n'
    assert permitted(load(tmp_path, running)) == {"guest-exec", "guest-exec-status"}
    assert permitted(load(tmp_path, 'default = "deny"\n')) == set()
    # A rule of their own counts.
    read_only = opening + '[[rule]]\ndeny = ["guest-file-write"]\n'
    assert permitted(load(tmp_path, read_only)) == {"guest-file-open", *HANDLED} - {"guest-file-write"}
    small = opening + '[[rule]]\nallow = ["guest-file-read"]\ncount = [4096]\n'
    assert not Policy(rules=load(tmp_path, small)).decide(COMMANDS["guest-file-read"], {"count": 9}, {}).allowed


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, 'no default: expected default = "deny" or "allow"'),
        ('default = "alow"\n', 1, "default = 'alow': expected"),
        ("default = true\n", 1, "expected default ="),
        ('# x\n\ndefault = "deny"\ndefalt = 1\n', 4, "unknown key 'defalt', expected default or [[rule]]"),
        ('default = "deny"\n[[rules]]\nallow = ["guest-ping"]\n', 2, "unknown key 'rules'"),
        ('default = "deny"\nrule = 5\n', 2, "expected rules as [[rule]]"),
        ('default = "deny"\n[rule]\nallow = ["guest-ping"]\n', 2, "expected rules as [[rule]]"),
        ('default = "deny"\n[[rule]]\n', 2, "expected a rule with either allow or deny"),
        ('default = "deny"\n[[rule]]\npath = ["/x"]\n', 2, "expected a rule with either allow or deny"),
        (
            'default = "deny"\n\n[[rule]]\n\nallow = ["guest-ping"]\ndeny = ["guest-ping"]\n',
            5,
            "either allow or deny",
        ),
        ('default = "deny"\n[[rule]]\nallow = "guest-ping"\n', 3, "allow: expected a list of commands"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-ping", 5]\n', 3, "allow: 5 is not a command"),
        ('default = "deny"\n[[rule]]\nallow = 5\n', 3, "allow: expected a list of commands, not 5"),
        ('default = "deny"\n[[rule]]\nallow = [["guest-ping"]]\n', 3, "['guest-ping'] is not a command"),
        ('default = "deny"\n[[rule]]\nallow = []\n', 3, "allow: expected a list of commands"),
        ('default = "deny"\n[[rule]]\nallow = [5]\n', 3, "5 is not a command"),
        (
            'default = "deny"\n[[rule]]\nallow = ["guest-pnig"]\n',
            3,
            "'guest-pnig' is not a command (did you mean 'guest-p",
        ),
        ('default = "deny"\n[[rule]]\nallow = ["guest-x-*"]\n', 3, "'guest-x-*' is not a command"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-exec"]\nevn = []\n', 4, "guest-exec has no such argument"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-ping"]\npath = ["/x"]\n', 4, "guest-ping has no such argument"),
        (
            'default = "deny"\n[[rule]]\nallow = ["guest-file-*"]\npath = ["/x"]\n',
            4,
            "guest-file-close has no such argument, expected one that all its commands have (handle)",
        ),
        ('default = "deny"\n[[rule]]\nallow = ["guest-exec"]\npath = ["ls"]\n', 4, "expected an absolute path"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-exec"]\narg = ["-l"]\n', 4, "expected a list of lists"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-shutdown"]\nmode = [1]\n', 4, "expected string, not 1"),
        (
            'default = "allow"\n[[rule]]\ndeny = ["guest-exec"]\ncapture-output = ["Merged"]\n',
            4,
            "'Merged' is none of none, stdout, stderr, separated, merged (did you mean 'merged'?)",
        ),
        (
            'default = "allow"\n[[rule]]\ndeny = ["guest-file-seek"]\nwhence = [0, "ste*"]\n',
            4,
            "none of set, cur, end",
        ),
        ('default = "deny"\n[[rules]]\nallow = ["guest-ping"]\n[[rule]]\ndeny = ["guest-exec"]\n', 2, "'rules'"),
        ('default = "allow"\n[[Rule]]\ndeny = ["guest-exec"]\n', 2, "unknown key 'Rule'"),
        ('Default = "deny"\n', 1, "unknown key 'Default', expected default or [[rule]]"),
        (
            'default = "allow"\n[[rule]]\ndeny = ["guest-exec"]\ndeny = ["guest-ping"]\n',
            4,
            "expected TOML: Cannot overw",
        ),
        ('default = "allow"\n[[rule]]\nDeny = ["guest-exec"]\n', 2, "expected a rule with either allow or deny"),
        ('default = "allow"\n[[rule]]\ndeny = ["Guest-Exec"]\n', 3, "not a command (did you mean 'guest-exec'?)"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-sync"]\nid = ["1"]\n', 4, "expected integer, not '1'"),
        ('default = "deny"\n[[rule]]\nallow = ["guest-set-vcpus"]\nvcpus = []\n', 4, "cannot be compared"),
        ('[[rule]]\nallow = ["guest-ping"]\ndefault = "deny"\n', 3, "expected above the first [[rule]]"),
        ('default = "deny"\n[[rule]\n', 2, "expected TOML"),
        ('default = "deny"\nx = [1,\n', 3, "expected TOML"),
        ('default = "deny"\ndefault = "allow"\n', 2, "expected TOML: Cannot overwrite a value"),
        ('default = "deny"\n\n[[rule]]\nallow = ["\xe4"\n', 5, "expected TOML"),
    ],
)
def test_problems_say_file_line_and_what_was_expected(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text)
    assert any(
        problem.startswith(f"{tmp_path}/policy.toml, line {line}: ") and words in problem
        for problem in caught.value.problems
    ), caught.value.problems


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = 'default = "deny"\n[[rule]]\nallow = ["guest-pn"]\n[[rule]]\ndeny = ["guest-exec"]\npath = 1\ncwd = 1\n'
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, text)
    lines = [int(problem.split("line ")[1].split(":")[0]) for problem in caught.value.problems]
    assert lines == [3, 6, 7]


def test_rules_may_use_any_toml_syntax(tmp_path: Path) -> None:
    """The line is not always known in this case, but it is never wrong."""
    inline = 'rule = [{allow = ["guest-ping"]}, {deny = ["guest-x"]}]\ndefault = "deny"\n'
    with pytest.raises(PolicyError, match=r"policy\.toml, rule 2: deny: 'guest-x' is not a command"):
        load(tmp_path, inline)
    text = 'default = "deny"\n[[ "rule" ]]\n"allow" = ["guest-exec"]\narg = [\n["""\n[[rule]]\n"""],\n]\n'
    assert "policy.toml, rule 1: allow guest-exec" in load(tmp_path, text).chains["guest-exec"][0].where


@pytest.mark.parametrize(
    "content", [b"\xff", b'default = "deny"\n\xff', b"x = " + b"[" * 5000, b"x = " + b"1" * 9999]
)
def test_what_is_not_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"policy\.toml.*: expected (UTF-8|TOML)"):
        rules.load(str(path), COMMANDS)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "none" / "none"):
        with pytest.raises(PolicyError, match=f"cannot read policy {path}: "):
            rules.load(str(path), COMMANDS)


def test_warnings(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr")
    text = f"""\
default = "deny"
[[rule]]
allow = ["guest-exec"]
path = ["{tmp_path}/link/bin/env"]
arg = [["install", "*"], ["install", "--", "*"]]
[[rule]]
allow = ["guest-ping"]
[[rule]]
deny = ["guest-ping"]
"""
    warnings = load(tmp_path, text).warnings
    assert [int(warning.split("line ")[1].split(":")[0]) for warning in warnings] == [4, 5, 3, 3, 9]
    assert warnings[0].endswith("matches no file, expected '/usr/bin/env'")
    assert "'*' also matches options" in warnings[1]
    assert "env = [] is none" in warnings[2]
    assert "without input-data the host chooses what the program reads" in warnings[3]
    assert "never decides" in warnings[4]


@pytest.mark.parametrize("name", options.PROFILES)
def test_profiles(name: str) -> None:
    read = rules.load(rules.profile(name), COMMANDS)
    assert read.warnings == ()
    allowed = permitted(read)
    assert (allowed >= KUBEVIRT) == (name != "confidential")
    opened = {"guest-exec", "guest-exec-status", "guest-file-open", *HANDLED}
    assert allowed & opened == (opened if name == "full" else set())
    said = Path(rules.profile(name)).read_text().split("default =")[0].replace("\n#", "")
    if name == "confidential":
        assert allowed == {
            "guest-ping", "guest-sync", "guest-sync-delimited", "guest-info", "guest-shutdown", "guest-get-time",
        }  # fmt: skip
        assert all(dropped in said for dropped in KUBEVIRT - allowed)


def test_each_profile_allows_more_than_the_one_before() -> None:
    names = ("confidential", "info", "backup", "managed", "full")
    assert sorted(names) == sorted(options.PROFILES)
    assert {path.stem for path in Path(rules.profile("full")).parent.glob("*.toml")} == set(names)
    assert {"full", *unit.LIMITS} == set(names)
    allowed = [permitted(rules.load(rules.profile(name), COMMANDS)) for name in names]
    for less, more in pairwise(allowed):
        assert less < more
    changing = {name for name in allowed[1] if "-get-" not in name}
    assert changing == {
        "guest-ping", "guest-sync", "guest-sync-delimited", "guest-info", "guest-fsfreeze-status", "guest-shutdown",
    }  # fmt: skip
    assert {name.removeprefix("guest-") for name in allowed[2] - allowed[1]} == {
        "fsfreeze-freeze", "fsfreeze-freeze-list", "fsfreeze-thaw", "fstrim",
    }  # fmt: skip
    assert allowed[4] - allowed[3] == {"guest-exec", "guest-exec-status", "guest-file-open", *HANDLED}


def test_what_was_allowed_before_is_judged_again(tmp_path: Path) -> None:
    text = """default = "allow"
[[rule]]
deny = ["guest-exec"]
env = [["LD_PRELOAD=*"]]
[[rule]]
allow = ["guest-exec"]
path = ["/usr/bin/true"]
[[rule]]
deny = ["guest-file-open"]
path = ["/etc/**"]
mode = ["r+", "w"]
"""
    policy = Policy(while_frozen=["guest-ping"], rules=load(tmp_path, text))
    opening, running = COMMANDS["guest-file-open"], COMMANDS["guest-exec"]
    assert policy.review(opening, {"path": "/x", "mode": "r"}, "/etc/passwd") is None
    assert policy.review(opening, {"path": "/etc/passwd", "mode": "r+"}, "/x") is None
    assert (
        policy.review(opening, {"path": "/x", "mode": "r+"}, "/etc/passwd")
        == f"{tmp_path}/policy.toml, line 9: deny guest-file-open"
    )
    assert policy.review(running, {"path": "true", "env": []}, "/usr/bin/true") is None
    assert policy.review(running, {"path": "true", "env": ["LD_PRELOAD=x"]}, "/usr/bin/true") is not None
    refused = policy.review(running, None, "/usr/bin/true")
    assert refused is not None
    assert refused.endswith("line 3: deny guest-exec, which depends on arguments that were too large to be kept")
    policy.on_freeze(True)
    policy.on_audit_failure(True)
    assert policy.review(running, {}, "/usr/bin/true") is None  # these pass
    policy.configure((), ["guest-exec"], None)
    assert policy.review(running, {}, "/usr/bin/true") == "block-rpcs"
    policy.configure(["guest-ping"], (), None)
    assert policy.review(running, {}, "/usr/bin/true") == "allow-rpcs"


def test_which_policy_is_in_force(tmp_path: Path) -> None:
    default = tmp_path / "qga-policy.toml"
    plain, given = config.defaults(), config.defaults(policy="/x")
    assert reload.policy_file(plain, str(default)) is None
    assert reload.policy_file(given, str(default)) == "/x"
    assert reload.policy_file(config.defaults(profile="full"), str(default)) is None
    assert reload.policy_file(config.defaults(profile="info"), str(default)) == rules.profile("info")
    default.symlink_to(tmp_path / "nowhere")  # it was meant to exist
    assert reload.policy_file(plain, str(default)) == str(default)
    assert reload.policy_file(given, str(default)) == "/x"
    for both in (config.defaults(profile="full"), config.defaults(profile="info", policy="/x")):
        with pytest.raises(ConfigError, match="expected only one of them"):
            reload.policy_file(both, str(default))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot look for policy"):
        reload.policy_file(plain, f"{tmp_path}/file/x")
