"""``python -m qga`` is ``qemu-ga``."""

import sys

from qga.agent.__main__ import main

sys.exit(main())
