"""A plugin for ``pytest -p tests.without_accelerators``: the optional modules of the agent are not installed."""

import sys

for _name in ("orjson", "pybase64", "fastjsonschema"):
    sys.modules[_name] = None  # type: ignore[assignment]
