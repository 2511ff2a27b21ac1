"""The only room that forks.

``run_helper`` and ``run_as`` wait for an outcome that is needed now. ``Workers`` let the loop go on until it comes.
What ``begin`` begins can be given up, even while the kernel does not return from it. All read the outcome from a
pipe, so that it never depends on which process reaps which.

``Children`` spawns programs that live beside the agent, and collects every dead child when SIGCHLD has come: the
status of a spawned one is handed to the caller that spawned it, any other is discarded. Nothing else waits for a
child. A ``ProcessTree`` is one of them with all that it has started, to be sent signals.
"""

from qga.agent.processes.as_user import run_as
from qga.agent.processes.attempt import begin
from qga.agent.processes.child import NotStartedError, WorkerDiedError, keep_descriptors
from qga.agent.processes.children import Children
from qga.agent.processes.helper import input_file, run_helper
from qga.agent.processes.process_tree import ProcessTree
from qga.agent.processes.workers import Workers

__all__ = [
    "Children",
    "NotStartedError",
    "ProcessTree",
    "WorkerDiedError",
    "Workers",
    "begin",
    "input_file",
    "keep_descriptors",
    "run_as",
    "run_helper",
]
