"""``python -m qga``: the same as the installed qemu-ga."""

import sys

from qga.cli import main

sys.exit(main())
