"""The binding of commands to handlers at start: every command needs a handler, and every handler a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

import qga.agent.commands
from qga.protocol import resources
from qga.protocol.schema import Command, Schema, SchemaError

Handler = Callable[..., object]

_COROUTINE = 0x80  # a bit of co_flags (inspect.CO_COROUTINE; importing inspect takes too long)


def bind(schema: Schema) -> dict[str, Handler]:
    """Return the handler of every command, by the command's name.

    Raises SchemaError for a command without a handler, a handler without a command, or a wrong signature.
    """
    handlers: dict[str, Handler] = {}
    modules = {area: import_module(f"{qga.agent.commands.__name__}.{area}") for area in _areas()}
    for command in schema.commands.values():
        module = modules.get(command.area)
        handler = getattr(module, command.function, None)
        if handler is None:
            raise SchemaError(
                f"schema/{command.area}.json: {command.name} has no handler:"
                f" expected {command.function}() in qga/agent/commands/{command.area}.py"
            )
        _check_signature(command, handler)
        handlers[command.name] = handler
    for area, module in modules.items():
        for name in _handler_names(module):
            if getattr(module, name) not in handlers.values():
                raise SchemaError(
                    f"qga/agent/commands/{area}.py: {name}() has no entry:"
                    f" expected {name.replace('_', '-')} in schema/{area}.json"
                )
    return handlers


def _areas() -> list[str]:
    """Return the names of the modules of qga.agent.commands.

    The directory is read directly because importing pkgutil takes too long.
    """
    files = sorted(resources.list_directory(qga.agent.commands.__path__[0]))
    return [name.removesuffix(".py") for name in files if name.endswith(".py") and name != "__init__.py"]


def _handler_names(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if name.startswith("guest_")]


def _check_signature(command: Command, handler: Handler) -> None:
    """Raise SchemaError unless a handler takes exactly the arguments of the schema, as keywords.

    Arguments that are optional in the schema must have defaults; the handler of a slow command must be a coroutine.
    """
    required = set(command.arguments.get("required", ()))
    expected = {name.replace("-", "_"): name in required for name in command.members}
    code, defaults = handler.__code__, handler.__kwdefaults__ or {}
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    taken = {name: name not in defaults for name in keywords}
    if taken != expected:
        raise SchemaError(
            f"qga/agent/commands/{command.area}.py: {command.function}() takes {_spell(taken)}:"
            f" expected {_spell(expected)}, as in schema/{command.area}.json"
        )
    if command.slow != bool(code.co_flags & _COROUTINE):
        speed, kind = ("slow", "a coroutine") if command.slow else ("not slow", "a plain function")
        raise SchemaError(
            f"qga/agent/commands/{command.area}.py: {command.function}() must be {kind}:"
            f" {command.name} is {speed} in schema/{command.area}.json"
        )


def _spell(arguments: Mapping[str, bool]) -> str:
    return ", ".join(name if required else f"{name}=…" for name, required in arguments.items()) or "nothing"
