"""Words for the guest that are not UTF-8, which JSON does not carry: a shell there makes them from octal escapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# Each word comes as printf's %b takes it. The x keeps newlines at its end, which $(…) removes.
_DECODE = r"""n=$#
while [ "$n" -gt 0 ]; do
    word=$(printf %bx "$1") && shift && set -- "$@" "${word%x}" && n=$((n - 1)) || exit
done
exec "$@"
"""


def is_sayable(text: str) -> bool:
    """Return whether JSON carries a text: it has no lone surrogate, Python's way to keep a byte that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def first_unsayable(value: object) -> str | None:
    """Return the first text in a JSON value that JSON does not carry, None if there is none."""
    if isinstance(value, str):
        return None if value.isascii() or is_sayable(value) else value
    inner: Iterable[object] = ()
    if isinstance(value, Mapping):
        inner = (one for pair in value.items() for one in pair)
    elif isinstance(value, list | tuple):
        inner = value
    return next(filter(None, map(first_unsayable, inner)), None)


def shown(text: str) -> str:
    """Return a text for people: bytes that are not UTF-8 as ``\\xe9``, half a character as ``\\ud800``."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()


def sayable(words: Sequence[str]) -> list[str]:
    """Return a command that does the same, with words that JSON carries.

    Raises ValueError for what cannot be the name of a file.
    """
    if all(map(is_sayable, words)):
        return list(words)
    return ["sh", "-c", _DECODE, "sh", *map(_octal, words)]


def _octal(word: str) -> str:
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\0{b:03o}" for b in _bytes(word))


def _bytes(word: str) -> bytes:
    try:
        return word.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(f"{word!a} has half a character in it: expected UTF-8, or bytes of a name") from error
