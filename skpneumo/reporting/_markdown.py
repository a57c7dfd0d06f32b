"""Markdown that no name and no text from outside can break."""

import json
import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from typing import Any

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_HEADING = re.compile(r"^([ \t>*+\-\d.)]*)(#{1,6})(?=[ \t]|$)", re.MULTILINE)
_UNDERLINE = re.compile(r"^([ \t>]*)(=+|-+)(?=[ \t]*$)", re.MULTILINE)
_FENCE = re.compile(r"`{3,}|~{3,}")
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of the direction of writing


def plain(value: Any) -> str:
    """Write something on one line so that it reads as it is, in a paragraph and in a cell of a table."""
    line = " ".join(str(value).split())
    line = "".join(character for character in line if character.isprintable())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", line)


def prose(text: str) -> str:
    """Let a text of Markdown stay within its section: no HTML, no headings, no blocks of code that never end."""
    text = "\n".join(text.splitlines())
    text = "".join(
        each for each in text if each in "\n\t" or (unicodedata.category(each) != "Cc" and each not in _TURNS)
    )
    text = text.replace("<", "&lt;")
    text = _FENCE.sub(lambda match: "".join(f"\\{character}" for character in match[0]), text)
    text = _HEADING.sub(r"\1\\\2", text)
    return _UNDERLINE.sub(r"\1\\\2", text).strip()


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Container[int] = ()) -> str:
    """Write a table of plain cells; the columns that are `numbers` stand to the right."""
    marks = ["---:" if i in numbers else "---" for i in range(len(head))]
    lines = [" | ".join(map(plain, cells)) for cells in (head, *rows)]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join(marks), *lines[1:]])


def bullets(items: Iterable[str]) -> str:
    """Write a list of items that are Markdown already."""
    return "\n".join(f"- {item}" for item in items)


def yaml(value: Any, indent: int = 0) -> str:
    """Write dicts, lists, strings and numbers as YAML, one line or more, each string in double quotes."""
    pad = "  " * indent
    if isinstance(value, dict):
        return "\n".join(f"{pad}{name}:{_nested(each, indent)}" for name, each in value.items())
    if isinstance(value, list):
        return "\n".join(f"{pad}- {yaml(each, indent + 1).lstrip()}" for each in value)
    return pad + json.dumps(_printable(value), ensure_ascii=False)


def _nested(value: Any, indent: int) -> str:
    if isinstance(value, (dict, list)):
        return "\n" + yaml(value, indent + 1)
    return " " + yaml(value)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(each for each in " ".join(value.split()) if each.isprintable())
    return value
