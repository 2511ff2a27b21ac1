"""An agent that cannot determine how filesystems are nested, and so freezes in the wrong order."""

import sys
from collections.abc import Sequence

from qga.agent.cli import main
from qga.agent.linux import freezing
from qga.agent.linux.host import Host
from qga.agent.linux.mounts import Mount


def _in_the_order_of_mounting(host: Host, mounts: Sequence[Mount]) -> list[Mount]:
    return list(mounts)


freezing.freezing_order = _in_the_order_of_mounting

if __name__ == "__main__":
    sys.exit(main())
