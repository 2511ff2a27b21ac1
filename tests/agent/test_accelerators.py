"""What the optional modules do is done without them too, byte for byte, and by releases that are too old."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.repository import REPOSITORY

OF_THE_WIRE = [
    "tests/protocol",
    "tests/agent/test_golden.py",
    "tests/agent/test_session.py",
    "tests/agent/test_cost.py",
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
