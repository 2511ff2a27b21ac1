"""The only place that forks: ask a program for its exit status, work as a user or beside the loop, spawn, reap.

``ask`` and ``run_as`` wait for an outcome that is needed now, ``Workers`` let the loop go on until it comes, and what
``begin`` begins can be given up, whatever the kernel does with it; all read it from a pipe, so that it never depends
on who reaps whom. ``Children`` spawns programs that live beside the agent
and collects every dead child when the loop says that SIGCHLD came: the status of a spawned one is handed to whoever
spawned it, any other is discarded. Nothing else waits for a child. A ``Family`` is one of them
with what it has started, to be sent signals.
"""

from qga.agent.processes.apart import begin
from qga.agent.processes.as_user import run_as
from qga.agent.processes.asking import ask, input_file
from qga.agent.processes.child import NotStartedError, WorkerDiedError, keep_descriptors
from qga.agent.processes.children import Children
from qga.agent.processes.family import Family
from qga.agent.processes.workers import Workers

__all__ = [
    "Children",
    "Family",
    "NotStartedError",
    "WorkerDiedError",
    "Workers",
    "ask",
    "begin",
    "input_file",
    "keep_descriptors",
    "run_as",
]
