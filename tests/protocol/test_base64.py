from __future__ import annotations

import base64 as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qga.protocol import base64
from qga.protocol.errors import CommandError

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def by_the_rules(text: str) -> bytes:
    """Decode character by character: each adds six bits; = adds zeros and removes the byte it stands for."""
    out, quartet = bytearray(), ""
    for character in text.replace("\n", ""):
        quartet += character
        if len(quartet) == 4:
            bits = 0
            for digit in quartet:
                bits = bits << 6 | max(ALPHABET.find(digit), 0)
            three = bits.to_bytes(3, "big")
            out += three[:1]
            if quartet[2] != "=":
                out += three[1:2]
            if quartet[3] != "=":
                out += three[2:]
            quartet = ""
    return bytes(out)


@given(st.text(ALPHABET + "=\n", max_size=40))
def test_lenient_as_the_reference(text: str) -> None:
    assert base64.decode(text) == by_the_rules(text)


@given(st.binary(max_size=200), st.integers(1, 76))
def test_lines_as_proxmox_sends_them(data: bytes, width: int) -> None:
    text = standard.b64encode(data).decode()
    lines = "\n".join(text[at : at + width] for at in range(0, len(text), width)) + "\n"
    assert base64.decode(lines) == data
    assert base64.encode(data) == text


@pytest.mark.parametrize(
    ("text", "data"), [("QUJ", b""), ("QUJD\nQUI=\n", b"ABCAB"), ("QQ==QUJD", b"AABC"), ("", b"")]
)
def test_examples(text: str, data: bytes) -> None:
    assert base64.decode(text) == data


@pytest.mark.parametrize("text", ["QUJD QUJD", "QUJ*", "é", "QUJD\r\n", "\udc80", "QQ==-"])
def test_other_characters_are_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"^Base64 data contains invalid characters$"):
        base64.decode(text)
