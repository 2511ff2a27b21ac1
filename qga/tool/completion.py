"""completion: a script for the shell, made by shtab from the parsers."""

from __future__ import annotations

import argparse

from qga.tool import parser
from qga.tool.exits import MissingExtraError


def completion(options: argparse.Namespace) -> None:
    """Print the script for ``options.shell``."""
    try:
        import shtab
    except ImportError:
        raise MissingExtraError("shtab is not installed: run pip install qga[host]") from None
    if options.shell not in shtab.SUPPORTED_SHELLS:
        raise MissingExtraError(f"this release of shtab does not support {options.shell}: install a newer one")
    print(shtab.complete(parser.parser(None), shell=options.shell))
