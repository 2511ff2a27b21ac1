"""Numbers in files of the kernel and in the configuration."""

from __future__ import annotations

import pytest

from qga.agent.linux.numbers import number


@pytest.mark.parametrize(
    ("digits", "base", "value"),
    [
        ("0", 10, 0),
        ("007", 10, 7),
        ("-1", 10, -1),
        ("fF", 16, 255),
        (str(2**64 - 1), 10, 2**64 - 1),
        (str(-(2**63)), 10, -(2**63)),
    ],
)
def test_numbers_that_fit_into_64_bits(digits: str, base: int, value: int) -> None:
    assert number(digits, base) == value


@pytest.mark.parametrize("digits", ["", "-", "+1", " 1", "1\n", "1_0", "0x1", "a", "²", "٣", str(2**64), "9" * 5000])
def test_anything_else_is_refused_with_a_short_message(digits: str) -> None:
    with pytest.raises(ValueError, match=r"not a number|invalid literal") as caught:
        number(digits)
    assert len(str(caught.value)) < 100
