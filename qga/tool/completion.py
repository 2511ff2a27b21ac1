"""completion: a script for the shell, made by shtab from the parsers."""

from __future__ import annotations

import argparse

from qga.tool import subcommands
from qga.tool.exits import MissingExtraError


def completion(_: None, options: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError:
        raise MissingExtraError("shtab is not installed: pip install qga[host] brings it") from None
    if options.shell not in shtab.SUPPORTED_SHELLS:
        raise MissingExtraError(f"this release of shtab does not know {options.shell}: a newer one may")
    print(shtab.complete(subcommands.parser(None), shell=options.shell))
