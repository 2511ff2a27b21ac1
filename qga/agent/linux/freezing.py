"""Freezing and thawing mounted filesystems: in which order, and what the kernel's answers mean.

The rule it keeps: the caller is never held up by the kernel. Each FIFREEZE and each FITHAW is made in a process of
its own, which is waited for with a bound. One that was given up thaws again what it freezes at last.

Source: ioctl_fifreeze(2), linux/fs.h.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from qga.agent.linux.host import Attempt, Host, ImmediateAttempt, readable
from qga.agent.linux.mounts import GoneError, Mount, opened
from qga.agent.linux.stacking import Stack, innermost_first
from qga.protocol.errors import CommandError

log = logging.getLogger(__name__)

FIFREEZE = 0xC0045877  # _IOWR('X', 119, int)
FITHAW = 0xC0045878  # _IOWR('X', 120, int)

ORDER_WAIT = 2.0  # seconds to find the order: a loop device asks the server of its file
UNDO_WAIT = 5.0  # seconds to undo a freeze that failed, before the reply is given

# What cannot be frozen (vfat, squashfs), and what another program has frozen, which has to thaw it.
_NOT_OURS = (errno.EOPNOTSUPP, errno.EBUSY)


class FreezeError(CommandError):
    """A freeze failed and was undone, except at ``stuck``: mount points about which the kernel has not answered."""

    def __init__(self, text: str, stuck: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.stuck = list(stuck)


class Answer(NamedTuple):
    """The outcome of one call: whether it has frozen, or thawed, the mount; or why not, if that is an error."""

    mount: Mount
    freezing: bool
    done: bool
    failure: str | None = None


def freezing_order(host: Host, mounts: Sequence[Mount]) -> list[Mount]:
    """Return the mounts in the order to freeze them: last mounted first, but each before the one that has its file.

    The kernel freezes a filesystem by writing what is pending, and into a file on a frozen filesystem that would wait
    for a thaw. Where the order cannot be found in time, it is that of mounting.
    """

    def find() -> list[int]:
        place = {mount: number for number, mount in enumerate(mounts)}
        return [place[mount] for mount in innermost_first(Stack(host), mounts)]

    order = host.within(ORDER_WAIT, find)
    if order is None:
        log.warning("what lies in what is not known after %g s: the last mounted is frozen first", ORDER_WAIT)
        return list(reversed(mounts))
    return [mounts[number] for number in order]


def freeze(host: Host, mounts: Iterable[Mount], limit: float, begun: float, keep: Sequence[int] = ()) -> list[Mount]:
    """Freeze these, in this order; returns those that were frozen by it.

    It has to be done ``limit`` seconds after ``begun``, a time of CLOCK_MONOTONIC. If one fails, or does not answer,
    those frozen before it are thawed again, and FreezeError is raised. The processes that freeze keep the descriptors
    ``keep`` open.
    """
    calls = _Calls(host, keep)
    frozen: list[Mount] = []
    try:
        for mount in mounts:
            if mount.hidden:
                continue
            calls.freeze(mount)
            answer = calls.wait(begun + limit)
            if answer is None:
                raise CommandError(
                    f"failed to freeze {mount.mountpoint}: no answer from the kernel within {limit:g} s"
                )
            if answer.done:
                frozen.append(mount)
            if answer.failure is not None:
                raise CommandError(answer.failure)
    except BaseException as error:
        for mount in reversed(frozen):
            calls.thaw(mount)
        _, stuck = calls.finish(UNDO_WAIT)
        if isinstance(error, CommandError):
            raise FreezeError(str(error), stuck) from error
        raise
    return frozen


def thaw(
    host: Host, mounts: Iterable[Mount], keep: Sequence[int] = (), patience: float = UNDO_WAIT
) -> tuple[int, list[str]]:
    """Thaw these, all at the same time, no matter which program has frozen them. Never raises.

    Returns how many of them were frozen, and the mount points of those that the kernel has not answered about in
    ``patience`` seconds.
    """
    calls = _Calls(host, keep)
    for mount in mounts:
        if not mount.hidden:
            calls.thaw(mount)
    return calls.finish(patience)


class _Calls:
    """The calls that are under way, waited for together: none holds up another."""

    def __init__(self, host: Host, keep: Sequence[int]) -> None:
        self._host = host
        self._keep = keep
        self._under_way: dict[Attempt[tuple[bool, str | None]], tuple[Mount, bool]] = {}
        self._not_begun: list[Mount] = []

    def freeze(self, mount: Mount) -> None:
        """Begin to freeze a mount. Raises CommandError where no process can be made for it."""
        self._under_way[self._host.begin(partial(_frozen, self._host, mount), self._keep)] = mount, True

    def thaw(self, mount: Mount) -> None:
        """Begin to thaw a mount; where no process can be made for it, ``finish`` thaws it."""
        try:
            call = self._host.begin(partial(_thawed, self._host, mount), self._keep)
        except CommandError:
            self._not_begun.append(mount)
        else:
            self._under_way[call] = mount, False

    def wait(self, until: float) -> Answer | None:
        """Return the next answer, or None where none comes ``until`` then, a time of CLOCK_MONOTONIC."""
        ready = readable(self._under_way, until - time.monotonic())
        if ready is None:
            return None
        mount, freezing = self._under_way.pop(ready)
        try:
            return Answer(mount, freezing, *ready.answer())
        except CommandError as error:  # it was killed, and what it did is not known
            what = "freeze" if freezing else "thaw"
            return Answer(mount, freezing, freezing, f"failed to {what} {mount.mountpoint}: {error}")

    def finish(self, seconds: float) -> tuple[int, list[str]]:
        """Wait for all, and thaw what was frozen meanwhile; returns how many were thawed, and which did not answer.

        Where no process can be made they are thawed here: better that this one is held up than that the guest stays
        frozen.
        """
        until = time.monotonic() + seconds
        thawed, stuck = 0, []
        while (answer := self.wait(until)) is not None:
            if answer.freezing:
                if answer.done:
                    self.thaw(answer.mount)
            elif answer.failure is not None:
                stuck.append(answer.mount.mountpoint)
            else:
                thawed += answer.done
        stuck += [mount.mountpoint for mount, _ in self._under_way.values()]
        for call in self._under_way:
            call.give_up()
        for mount in self._not_begun:
            thawed += ImmediateAttempt(partial(_thawed, self._host, mount)).answer()[0]
        return thawed, stuck


@contextmanager
def _frozen(host: Host, mount: Mount) -> Iterator[tuple[bool, str | None]]:
    """Freeze a mount; gives whether this has frozen it, and why not. A BrokenPipeError thaws it: it was given up."""
    with contextlib.ExitStack() as stack:
        descriptor, done, failure = -1, False, None
        try:
            descriptor = stack.enter_context(opened(host, mount))
        except GoneError:
            pass
        except OSError as error:
            failure = f"failed to open {mount.mountpoint}: {error.strerror}"
        else:
            try:
                host.ioctl(descriptor, FIFREEZE)
                done = True
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    failure = f"failed to freeze {mount.mountpoint}: {error.strerror}"
        try:
            yield done, failure
        except BrokenPipeError:
            if done:
                _until_thawed(host, descriptor)


@contextmanager
def _thawed(host: Host, mount: Mount) -> Iterator[tuple[bool, str | None]]:
    thawed = False
    with contextlib.suppress(OSError), opened(host, mount) as descriptor:
        thawed = _until_thawed(host, descriptor)
    with contextlib.suppress(BrokenPipeError):
        yield thawed, None


def _until_thawed(host: Host, descriptor: int) -> bool:
    """Thaw until the kernel says that it is not frozen; returns whether it was. Old kernels count the freezes."""
    thawed = False
    with contextlib.suppress(OSError):
        while True:
            host.ioctl(descriptor, FITHAW)
            thawed = True
    return thawed
