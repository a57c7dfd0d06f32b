"""Escape names and texts of users for Markdown."""

import re
import unicodedata
from typing import Any

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_HEADING = re.compile(r"^([ \t>*+\-\d.)]*)(#{1,6})(?=[ \t]|$)", re.MULTILINE)
_UNDERLINE = re.compile(r"^([ \t>]*)(=+|-+)(?=[ \t]*$)", re.MULTILINE)
_FENCE = re.compile(r"`{3,}|~{3,}")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # writing direction
# A code block at the margin, from its fence to the first closing fence.
_CODE = re.compile(
    r"^(?P<fence>(?P<mark>[`~])(?P=mark){2,})(?!(?P=mark))[^`\n]*\n(?:.*\n)*? {0,3}(?P=fence)(?P=mark)*[ \t]*$",
    re.MULTILINE,
)


def one_line(value: Any) -> str:
    """Format a value on one line without unprintable characters."""
    return "".join(character for character in " ".join(str(value).split()) if character.isprintable())


def plain(value: Any) -> str:
    """Format a value on one line and escape it for paragraphs and table cells."""
    line = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", line)


def within_section(text: str) -> str:
    """Keep closed code blocks as they are and escape the rest of a section."""
    blocks, start, text = [], 0, "\n".join(text.splitlines())
    for match in _CODE.finditer(text):
        code = "".join(each for each in match[0] if each in "\n\t" or each.isprintable())
        blocks += [prose(text[start : match.start()]), code]
        start = match.end()
    return "\n\n".join(filter(None, [*blocks, prose(text[start:])]))


def prose(text: str) -> str:
    """Escape HTML, headings and unclosed code blocks, which could end a section."""
    text = "\n".join(text.splitlines())
    text = "".join(
        each for each in text if each in "\n\t" or (unicodedata.category(each) != "Cc" and each not in _BIDI_CONTROLS)
    )
    text = text.replace("<", "&lt;")
    text = _FENCE.sub(lambda match: "".join(f"\\{character}" for character in match[0]), text)
    text = _HEADING.sub(r"\1\\\2", text)
    return _UNDERLINE.sub(r"\1\\\2", text).strip()
