"""The backlog: a bounded queue of records that wait to be written, and a count of those that were dropped.

The rule it keeps: many records of one kind cannot displace those of another. If the queue is full, the newest record
of the largest kind is dropped. There are few kinds (mainly the commands of the schema), so each has a share of the
room whatever a host sends; dropped records are counted by kind.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping

MAX_HELD = 1000  # records of some hundred bytes, rarely some thousand

Record = Mapping[str, object]


class Backlog:
    """A queue of at most ``limit`` records, with a count of the dropped ones, by kind, in ``lost``."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self.lost: Counter[str] = Counter()  # by kind, since the last report
        self._limit = limit
        self._order = itertools.count()
        self._records: OrderedDict[int, tuple[str, Record]] = OrderedDict()
        self._of_kind: dict[str, deque[int]] = {}  # the numbers of its records, ascending; no deque is empty

    def __len__(self) -> int:
        return len(self._records)

    def add(self, kind: str, record: Record) -> bool:
        """Append a record; return False if it, or another one in its place, was dropped."""
        full = len(self._records) >= self._limit
        if full and not self._make_room(kind):
            self.lost[kind] += 1
            return False
        number = next(self._order)
        self._records[number] = kind, record
        self._of_kind.setdefault(kind, deque()).append(number)
        return not full

    def first(self) -> tuple[str, Record]:
        """Return the kind and the content of the oldest record. Raises StopIteration if there is none."""
        return next(iter(self._records.values()))

    def remove_first(self) -> None:
        """Remove the oldest record. Raises KeyError if there is none."""
        _, (kind, _) = self._records.popitem(last=False)
        self._forget(kind, newest=False)

    def give_up(self) -> None:
        """Count all records as lost, and remove them."""
        self.lost.update(kind for kind, _ in self._records.values())
        self._records.clear()
        self._of_kind.clear()

    def _make_room(self, kind: str) -> bool:
        """Drop the newest record of the largest kind; return False if that kind is not larger than ``kind``."""
        most = max(self._of_kind, key=lambda other: len(self._of_kind[other]))
        if len(self._of_kind[most]) <= len(self._of_kind.get(kind, ())):
            return False
        del self._records[self._forget(most, newest=True)]
        self.lost[most] += 1
        return True

    def _forget(self, kind: str, *, newest: bool) -> int:
        numbers = self._of_kind[kind]
        number = numbers.pop() if newest else numbers.popleft()
        if not numbers:
            del self._of_kind[kind]
        return number
