"""An agent that does not know what lies in what, as where nobody can know it: it freezes in the wrong order."""

import sys
from collections.abc import Sequence

from qga.cli import main
from qga.linux import freezing
from qga.linux.host import Host
from qga.linux.mounts import Mount


def _in_the_order_of_mounting(host: Host, mounts: Sequence[Mount]) -> list[Mount]:
    return list(mounts)


freezing.freezing_order = _in_the_order_of_mounting

if __name__ == "__main__":
    sys.exit(main())
