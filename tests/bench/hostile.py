"""What the worst request of its size costs beside a harmless one: ours alone, with an audit log and a policy.

Each is one message with one reply. As many tokens as a message may have (2 Mi) cost what a decoder in Python costs,
in pieces of a read, so these are a row of their own: beside them is a harmless request that has as many.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.agents import OURS, Agent
from tests.bench.client import Client, request
from tests.bench.report import Result

SIZE = 8 << 20  # bytes of a request, about
MOST = 10.0  # times as long as a harmless one

POLICY = """default = "allow"
[[rule]]
deny = ["guest-file-open"]
path = ["/**/log/**/x/**/y*z", "/**/*a*b*c"]
[[rule]]
deny = ["guest-exec"]
arg = [["--", "*a*b"], ["*a*a*a*b", "**"]]
[[rule]]
deny = ["guest-ssh-get-authorized-keys"]
username = ["*a*b", "a*a*a*a*b"]
"""


def harmless(client: Client) -> bytes:
    """Return what a host sends when it copies a file."""
    handle = client.ask("guest-file-open", path="/dev/null", mode="w")
    return request("guest-file-write", handle=handle, buf_b64="QUJD" * (SIZE // 4))


def harmless_with_tokens() -> bytes:
    return request("guest-ping")[:-2] + b',"id":[' + b"1234567," * (SIZE // 8 - 1000) + b"1]}\n"


def corpus(size: int = SIZE) -> Iterator[tuple[str, bytes]]:
    """Yield names and requests that are expensive by their content, not by the number of their tokens."""
    digits = [format(number, "x") for number in range(2000)]
    long = "x" * size
    yield "a long member and many digits", _message("guest-ping", **{long: digits})
    yield "a long member that looks like what is hidden", _message("guest-ping", **{"a" * size: ["aaaa"] * 1000})
    yield "an unknown command", _message(long)
    yield "an unknown argument", request("guest-ping", **{long: long[:10]})
    yield "a word that an enum does not have", request("guest-file-seek", handle=1, offset=0, whence=long)
    yield "a glob of a user", request("guest-ssh-get-authorized-keys", username="a" * size)
    yield "/usr/.. over and over", request("guest-file-open", path="/usr/.." * (size // 7))
    yield "a path of a", request("guest-file-open", path="/log" * (size // 4))
    yield "one argument", request("guest-exec", path="/bin/true", arg=["a" * size])
    yield "arguments for globs", request("guest-exec", path="/bin/true", arg=["a" * 131000] * (size // 131000))
    yield "PATH and a long program", request("guest-exec", path=long[: size // 2], env=["PATH=" + ":" * (size // 2)])
    yield (
        "PATH as long as it may be",
        request("guest-exec", path="none", env=["PATH=" + "/a:/../:" * 16000, long[:99]]),
    )
    for command, member, given in (
        ("guest-file-write", "buf-b64", {"handle": -1}),
        ("guest-exec", "input-data", {"path": "/nonexistent"}),
        ("guest-set-user-password", "password", {"username": "a:b", "crypted": False}),
    ):
        for name, value in (("", "QUJD"), (" of =", "QQ=="), (" of newlines", "QQ\n\n"), (" that is none", "x!x!")):
            yield f"{command} {member}{name}", request(command, **{member: value * (size // 4)}, **given)
    yield "guest-ssh keys", request("guest-ssh-remove-authorized-keys", username="none", keys=["#" + long])
    yield "keys with escapes", b'{"execute":"guest-ping","x":{"' + b"\\u0061" * (size // 6) + b'":1}}\n'
    for escape in (b"\\'", b"\\\\", b"\xc0\x80"):
        yield f"{escape!r} in a string", b'{"execute":"guest-ping","x":\'' + escape * (size // 2) + b"'}\n"
    yield "brackets within a string", _message("guest-ping", x="]}" * (size // 2))


def corpus_of_tokens(size: int = SIZE) -> Iterator[tuple[str, bytes]]:
    """Yield names and requests of nearly as many tokens as a message may have."""
    few = size // 13  # things of 13 bytes, three tokens each

    def listed(thing: bytes, count: int) -> bytes:
        return b'{"execute":"guest-ping","x":[' + thing * count + b"1]}\n"

    yield "many small strings", listed(b'"abcdef",', size // 9)
    yield "many numbers", listed(b"1.250000,", size // 9)
    yield "many lists", listed(b"[],          ", few)
    yield "deep nesting", listed(b"[" * 1000 + b"]" * 1000 + b"," + b" " * 7000, size // 9001)
    yield "single quotes", listed(b"'abcdef',", size // 9)
    yield "escapes", listed(b'"\\u0061b",', size // 10)
    yield "an error at once", listed(b",", 1)[:-3] + b'"abcdef",' * (size // 9) + b"1]}\n"
    yield "duplicates", b'{"execute":"guest-ping",' + b'"a":1,      ' * (size // 20) + b'"a":1}\n'
    keys = b",".join(b'"%08x": 12345' % number for number in range(size // 20))
    yield "many unknown members", b'{"execute":"guest-ping","arguments":{' + keys + b"}}\n"
    wrong = b"12345678," * (size // 9)
    begin = b'{"execute":"guest-ssh-add-authorized-keys","arguments":{"username":"none","keys":['
    yield "many errors", begin + wrong + b"1]}}\n"
    yield "an error at the end", begin + b'"abcdef",' * (size // 9) + b"1]}}\n"
    vcpus = b'{"execute":"guest-set-vcpus","arguments":{"vcpus":[' + b"{},          " * few + b"{}]}}\n"
    yield "many objects that lack something", vcpus


def _message(execute: str, **members: object) -> bytes:
    return json.dumps({"execute": execute, **members}).encode() + b"\n"


def results(directory: Path, rounds: int) -> list[Result]:
    policy = directory / "hostile.toml"
    policy.write_text(POLICY)
    options = ("--policy", str(policy), "--audit-log", str(directory / "hostile.log"))
    with Agent("hostile", (*OURS, *options), directory) as agent:
        client = agent.connect()
        return [
            _row("the worst of hostile 8 MiB requests", client, harmless(client), [*corpus()], rounds),
            _row("the worst of such of many tokens", client, harmless_with_tokens(), [*corpus_of_tokens()], rounds),
        ]


def _row(name: str, client: Client, beside: bytes, hostile: list[tuple[str, bytes]], rounds: int) -> Result:
    least = statistics.median(_seconds(client, beside) for _ in range(rounds))
    spans = {kind: statistics.median(_seconds(client, message) for _ in range(rounds)) for kind, message in hostile}
    for kind, seconds in sorted(spans.items(), key=lambda item: -item[1]):
        print(f"  {seconds / least:6.2f} {kind}", flush=True)
    worst = max(spans, key=lambda kind: spans[kind])
    note = f"{worst}; beside it, a harmless one"
    return Result(name, spans[worst], least, "s", target=1 / MOST, note=note)


def _seconds(client: Client, message: bytes) -> float:
    begun = time.perf_counter()
    client.exchange(message)
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="qga-hostile-") as name:
        for result in results(Path(name), 3):
            print(result)


if __name__ == "__main__":
    main()
