"""Labels of the rows of a table as numbers, before any are dropped."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from skpneumo._utils.messages import list_items, list_values
from skpneumo.datasets._table_files import extract, texts
from skpneumo.datasets._table_layouts import Layout

UNCERTAIN, BLANK, INVALID = -1, -2, -3
_SEPARATOR = "|"
_STATES = {"1": 1, "1.0": 1, "True": 1, "0": 0, "0.0": 0, "False": 0, "-1": UNCERTAIN, "-1.0": UNCERTAIN, None: BLANK}
# Of several findings, any that is present makes the row positive, and it is negative only if all are absent.
_PRECEDENCE = (1, INVALID, UNCERTAIN, BLANK, 0)


class Labels(NamedTuple):
    """Labels of all rows of a table.

    codes : list of int
        Position of each label in `names`, or UNCERTAIN, BLANK or INVALID.
    cells : list of str
        Text of the label of each row, for messages.
    names : list of str
        Names of the classes.
    missing : list of str
        Columns that the table lacks.
    """

    codes: list[int]
    cells: list[str]
    names: list[str]
    missing: list[str]


def read_labels(table: Any, layout: Layout, positive: Sequence[str]) -> Labels:
    """Read the labels of all rows.

    Raises
    ------
    ValueError
        If `positive` is empty although images may have several findings, or does not occur in the column of labels, or
        if the spelling or the separators of labels are not uniform.
    """
    if layout.label is None or layout.finding is not None or list(positive) == [layout.label]:
        return _from_states(table, layout, positive)
    if layout.label not in table:
        return Labels([], [], [], [layout.label])
    return _from_words(texts(extract(table[layout.label], layout.label_pattern)), layout, positive)


def _from_words(words: Sequence[str | None], layout: Layout, positive: Sequence[str]) -> Labels:
    """Read labels from the words of one column, which may hold several findings of an image."""
    findings = [[part.strip() for part in word.split(_SEPARATOR)] if word else [] for word in words]
    parts = {part for each in findings for part in each}
    doubtful = {part: code for part in parts - set(positive) if (code := _doubt(part)) is not None}
    found = sorted(parts - doubtful.keys(), key=_natural)
    _check_spelling(found, layout.label)
    _check_separators(found, layout.label, positive)
    multilabel = layout.multilabel or any(len(each) > 1 for each in findings)
    if multilabel and not positive:
        raise ValueError(
            f"An image may have several findings in the column {layout.label!r}. Pass positive, the finding to be "
            f"predicted: one or several of {list_values(found)}."
        )
    absent = [each for each in positive if each not in found]
    if absent:
        raise ValueError(
            f"{list_values(absent)} in positive is not in the column {layout.label!r}. Found: {list_values(found)}."
        )
    cells = [word or "" for word in words]
    if not positive:
        codes = doubtful | {name: code for code, name in enumerate(found)}
        return Labels([codes[word] if word else BLANK for word in words], cells, found, [])
    others = [each for each in found if each not in positive]
    negative = others[0] if len(others) == 1 and not multilabel else None
    codes = dict.fromkeys(others, 0) | doubtful | dict.fromkeys(positive, 1)
    states = [{codes[part] for part in each} or {BLANK} for each in findings]
    present = [next(code for code in _PRECEDENCE if code in each) for each in states]
    return Labels(present, cells, _class_names(positive, negative), [])


def _doubt(word: str) -> int | None:
    """Return the code of a number that is no class; None for words and other whole numbers."""
    number = _number(word)
    if number is None or (number.is_integer() and number != UNCERTAIN):
        return None
    return UNCERTAIN if number == UNCERTAIN else INVALID


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _spelling(word: str) -> str | float:
    """Return what spellings of a label have in common: the number, or the letters."""
    number = _number(word)
    return "".join(word.casefold().split()) if number is None else number


def _check_spelling(found: Sequence[str], column: str | None) -> None:
    """Raise an error if labels differ only in case, spaces or the form of a number."""
    spellings: dict[str | float, list[str]] = {}
    for label in found:
        spellings.setdefault(_spelling(label), []).append(label)
    alike = [each for each in spellings.values() if len(each) > 1]
    if alike:
        raise ValueError(
            f"Labels in the column {column!r} differ only in case, spaces or the form of numbers: "
            f"{list_items([' = '.join(map(repr, each)) for each in alike])}. Use one spelling for each label."
        )


def _check_separators(found: Sequence[str], column: str | None, positive: Sequence[str]) -> None:
    """Raise an error if a finding in `positive` is a part of labels that are separated in another way."""
    wanted = {_spelling(each) for each in positive}
    parts = {label: [part.strip(" []()'\"") for part in re.split("[,;]", label)] for label in found}
    several = [
        label
        for label, words in parts.items()
        if len(words) > 1 and label not in positive and not wanted.isdisjoint(map(_spelling, words))
    ]
    if several:
        raise ValueError(
            f"Labels in the column {column!r} seem to contain several findings: {list_values(several)}. Separate "
            f"findings by '{_SEPARATOR}', as in {_SEPARATOR.join(parts[several[0]])!r}, or add the labels to positive."
        )


def _from_states(table: Any, layout: Layout, positive: Sequence[str]) -> Labels:
    """Read labels from one column of 1, 0, -1 or blank for each finding."""
    if not positive:
        columns = [column for column in table.columns if set(texts(table[column])) <= _STATES.keys()]
        raise ValueError(
            "Pass label_column, or positive, the finding to be predicted: one or several of the columns of 1, 0, -1 or "
            f"blank, {list_values(columns or list(table.columns))}."
        )
    columns = [str(layout.label) if each in {layout.finding, layout.label} else each for each in positive]
    missing = [column for column in columns if column not in table]
    if missing:
        return Labels([], [], [], missing)
    rows = list(zip(*(texts(table[column]) for column in columns), strict=True))
    states = [{_STATES.get(cell, INVALID) for cell in row} for row in rows]
    codes = [next(code for code in _PRECEDENCE if code in each) for each in states]
    cells = [", ".join(cell or "blank" for cell in row) for row in rows]
    return Labels(codes, cells, _class_names(positive), [])


def _class_names(positive: Sequence[str], negative: str | None = None) -> list[str]:
    name = " or ".join(positive)
    return [negative or f"no {name}", name]


def _natural(word: str) -> tuple[bool, int, str]:
    """Return a key that sorts whole numbers by value, before words."""
    return (False, int(word), word) if word.isdecimal() else (True, 0, word)
