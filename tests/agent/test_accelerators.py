"""What the optional modules do is done without them too, byte for byte, and by releases that are too old."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

OF_THE_WIRE = [
    "tests/protocol",
    "tests/agent/test_golden.py",
    "tests/agent/test_session.py",
    "tests/agent/test_cost.py",
    "tests/fuzz/test_targets.py",
]
NEED_THEM = ["tests/protocol/test_jsontext.py"]

OLD = """
import sys, types
fastjsonschema = types.ModuleType("fastjsonschema")
def compile(definition, handlers={}, formats={}, use_default=True):
    raise AssertionError
fastjsonschema.compile = compile
sys.modules["fastjsonschema"] = fastjsonschema
sys.modules.update((name, types.ModuleType(name)) for name in ("orjson", "pybase64"))
from qga.protocol import base64, schema
from qga.protocol.errors import RequestError
from qga.protocol.wire import Decoder, encode
assert list(Decoder().feed(b'{"execute":"x"}\\n')) == [{"execute": "x"}]
assert encode({"return": base64.encode(b"abc")}) == b'{"return":"YWJj"}\\n'
assert base64.decode("YWJj") == b"abc"
try:
    schema.load().commands["guest-sync"].validator()({"id": "x"})
except RequestError as error:
    print(error)
"""


WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from qga.agent.__main__ import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.forks
def test_the_tests_of_the_wire_pass_without_them() -> None:
    words = ["-q", "-p", "no:cacheprovider", "-p", "tests.without_accelerators", "-n", "0"]
    ignored = [f"--ignore={path}" for path in NEED_THEM]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *ignored, *OF_THE_WIRE],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.forks
def test_releases_that_are_too_old_are_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", OLD], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Invalid parameter type for 'id', expected: integer\n", "")


@pytest.mark.forks
@pytest.mark.parametrize(
    ("module", "options", "text"),
    [
        ("daemon", "-d -m unix-listen -p {0}/sock", "-d needs python-daemon, which is not installed"),
        (
            "serial",
            "-m isa-serial -p /dev/null",
            "error opening channel '/dev/null': isa-serial needs pyserial, which is not installed",
        ),
    ],
)
def test_what_a_start_lacks_is_said(module: str, options: str, text: str, tmp_path: Path) -> None:
    words = [*options.format(tmp_path).split(), "-t", str(tmp_path), "-f", f"{tmp_path}/pid", "-c", "/dev/null"]
    done = subprocess.run([sys.executable, "-c", WITHOUT, module, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert set(done.stderr.splitlines()) == {f"qemu-ga: {text}"}
