"""The root directory of this checkout."""

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
