"""``make soak``: hosts of every kind use a real agent for a bounded time; exits 1 if the agent misbehaved."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qga.agent.channel.stream import LULL
from tests.lines import Closed
from tests.running import RunningAgent
from tests.soak import acts
from tests.soak.acts import World
from tests.soak.peer import Broken, Peer
from tests.soak.report import Process, Report

LEAVING = 0.08  # of all acts
SWEEP = 50  # connections until what their hosts left open is closed: an agent may have a thousand descriptors
SETTLE = 10.0  # seconds in which what was left comes to its end
ENOUGH = 3  # things that went wrong, after which no more are looked for
TELL = 60.0  # seconds between two lines that say that it goes on

Act = Callable[[World, Peer], None]
ACTS: dict[Act, int] = {
    acts.pings: 8,
    acts.questions: 8,
    acts.synchronise: 4,
    acts.nonsense: 4,
    acts.noise: 2,
    acts.refused: 4,
    acts.file: 4,
    acts.program: 2,
}
LEAVES: tuple[Act, ...] = (
    acts.with_nothing_pending,
    acts.in_the_middle_of_a_request,
    acts.in_the_middle_of_a_large_write,
    acts.before_any_reply,
    acts.in_the_middle_of_a_reply,
    acts.in_the_middle_of_a_large_reply,
    acts.while_the_agent_cannot_write,
    acts.after_it_was_late_to_read,
    acts.with_its_own_side_shut,
)


class Soak:
    def __init__(self, agent: RunningAgent, world: World) -> None:
        self._agent = agent
        self._world = world
        self._peer: Peer | None = None

    def do(self, act: Act) -> None:
        """Perform an act on the present connection or a new one. A failure is recorded and ends the connection."""
        report = self._world.report
        if len(report.wrong) >= ENOUGH:
            return
        try:
            if self._peer is None:
                self._peer = Peer(self._world.path, report)
            act(self._world, self._peer)
        except (Broken, Closed, OSError) as error:
            report.wrong.append(f"{act.__name__}: {error}")
            self._close()
        if act in LEAVES:
            report.left[act.__name__.replace("_", " ")] += 1
            self._close()
            if report.left.total() % SWEEP == 0:
                self.do(acts.sweep)

    def warm_up(self) -> None:
        """Do everything once, the largest first, as memory that was needed once may stay allocated."""
        self.do(acts.sweep)
        self.do(acts.everything)
        self.do(lambda world, peer: acts.file(world, peer, acts.LARGEST))
        self.do(lambda world, peer: acts.program(world, peer, acts.LARGEST))
        for act in (*ACTS, *LEAVES):
            self.do(act)

    def go_on(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        tell = time.monotonic() + TELL
        chance, report = self._world.random, self._world.report
        while time.monotonic() < deadline and len(report.wrong) < ENOUGH:
            leaving = chance.random() < LEAVING
            self.do(chance.choice(LEAVES) if leaving else chance.choices(list(ACTS), list(ACTS.values()))[0])
            if time.monotonic() > tell:
                tell += TELL
                rss = Process.look(self._agent.process.pid).rss
                print(f"{time.monotonic() - report.began:.0f} s, {report.replies} replies, RSS {rss} KiB", flush=True)

    def look(self) -> Process | None:
        """Measure the agent once no host is connected and all programs have ended, or as it is after a timeout."""
        self.do(acts.sweep)
        self._close()
        time.sleep(LULL + 0.5)
        deadline, start = time.monotonic() + SETTLE, self._world.report.start
        while self._agent.alive:
            found = Process.look(self._agent.process.pid)
            more = start is not None and found.descriptors - start.descriptors
            if time.monotonic() > deadline or not (found.children or more or found.descriptors["socket:[N]"] > 1):
                return found
            time.sleep(0.05)
        return None

    def _close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


def soak(seconds: float, seed: int, directory: Path) -> Report:
    path, report = str(directory / "agent.sock"), Report(seed)
    with RunningAgent(directory, "-m", "unix-listen", "-p", path) as agent:
        run = Soak(agent, World(path, directory, report, random.Random(seed)))
        run.warm_up()
        run.go_on(seconds / 10)
        report.start = run.look()
        run.go_on(seconds - seconds / 10)
        report.end = run.look()
        if agent.alive and (status := agent.terminate()):
            report.wrong.append(f"the agent ended with status {status}")
    return report


def main() -> int:
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="qga-soak-") as directory:
        report = soak(seconds, seed, Path(directory))
    failures = list(report.failures())
    print(report, *failures or ["nothing is wrong"], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
