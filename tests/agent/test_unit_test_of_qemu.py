"""The 29 rows of QEMU's unit test of its agent, with this checkout's agent."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.unit_test_of_qemu import ROWS, Machine, Row, machine_of

pytestmark = pytest.mark.forks


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("rows")
    with machine_of(directory, str(directory), [sys.executable, "-m", "qga.agent"]) as machine:
        yield machine


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_row(row: Row, machine: Machine) -> None:
    row(machine)


def test_every_row_is_there() -> None:
    assert len(set(ROWS)) == 29
