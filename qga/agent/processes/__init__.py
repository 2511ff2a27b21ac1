"""Child processes: the only package of the agent that forks.

``run_helper`` and ``run_as`` wait for an outcome that is needed now. With ``Workers`` the loop continues meanwhile. A
call started by ``begin`` can be given up, even while it is stuck in the kernel. All of them read the outcome from a
pipe, so that it never depends on which process reaps which.

``Children`` spawns programs that run beside the agent, and reaps every dead child on SIGCHLD: the status of a spawned
program is passed to the caller that spawned it, any other is discarded. Nothing else waits for a child. A
``ProcessTree`` is a child with all processes that it started, so that they can be signalled together.
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
