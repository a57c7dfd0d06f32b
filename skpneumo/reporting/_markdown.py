"""Markdown that no name and no text from outside can break."""

import re
import unicodedata
from typing import Any

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_HEADING = re.compile(r"^([ \t>*+\-\d.)]*)(#{1,6})(?=[ \t]|$)", re.MULTILINE)
_UNDERLINE = re.compile(r"^([ \t>]*)(=+|-+)(?=[ \t]*$)", re.MULTILINE)
_FENCE = re.compile(r"`{3,}|~{3,}")
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of the direction of writing
# A block of code at the margin, from its fence to the first one that ends it.
_CODE = re.compile(
    r"^(?P<fence>(?P<mark>[`~])(?P=mark){2,})(?!(?P=mark))[^`\n]*\n(?:.*\n)*? {0,3}(?P=fence)(?P=mark)*[ \t]*$",
    re.MULTILINE,
)


def one_line(value: Any) -> str:
    """Write something on one line, without characters that cannot be seen."""
    return "".join(character for character in " ".join(str(value).split()) if character.isprintable())


def plain(value: Any) -> str:
    """Write something on one line so that it reads as it is, in a paragraph and in a cell of a table."""
    line = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", line)


def within_section(text: str) -> str:
    """Let blocks of code that end stand as they are: nothing in them can leave the section."""
    blocks, start, text = [], 0, "\n".join(text.splitlines())
    for match in _CODE.finditer(text):
        code = "".join(each for each in match[0] if each in "\n\t" or each.isprintable())
        blocks += [prose(text[start : match.start()]), code]
        start = match.end()
    return "\n\n".join(filter(None, [*blocks, prose(text[start:])]))


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
