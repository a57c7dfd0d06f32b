"""Read and check the rows of a label table."""

import os
from collections.abc import Iterable, Sequence
from string import Formatter
from typing import Any

from skpneumo._images.groups import find_patients, patients_by_name
from skpneumo._utils.messages import list_items
from skpneumo.datasets._listing import why_no_image
from skpneumo.datasets._table_files import ImageFolder, extract, texts
from skpneumo.datasets._table_labels import BLANK, INVALID, UNCERTAIN, Labels
from skpneumo.datasets._table_layouts import VIEW_OF, Layout
from skpneumo.datasets._table_problems import Problem, Problems, rows_of

_DECISIONS = {"positive": 1, "negative": 0}
_REPEATED = "repeated row"


class TableRows:
    """Rows of a label table: their images, labels and patients, and their problems.

    Parameters
    ----------
    table : DataFrame
        The table.
    layout : Layout
        Its columns.

    Attributes
    ----------
    used : list of int
        Rows of the selected view.
    paths, labels, patients : dict
        Path of the image, label and patient of the rows that have one. Keys are rows.
    images : dict
        Rows of each image. Keys are paths.
    problems, left_out : Problems
        Problems of rows, and reasons to leave out others.
    """

    def __init__(self, table: Any, layout: Layout) -> None:
        self.table = table
        self.layout = layout
        self.used: list[int] = list(range(len(table)))
        self.paths: dict[int, str] = {}
        self.labels: dict[int, int] = {}
        self.patients: dict[int, str] = {}
        self.images: dict[str, list[int]] = {}
        self.problems, self.left_out = Problems(), Problems()
        self._names = texts(table[layout.image]) if layout.image in table else [None] * len(table)

    def report(self, problem: str, rows: Iterable[int], detail: str = "", *, leave_out: bool = False) -> None:
        """Add a problem of some rows, or a reason to leave them out."""
        found = [Problem(problem, row, self._names[row], detail) for row in rows]
        (self.left_out if leave_out else self.problems).extend(found)

    def select(self, view: str) -> None:
        """Use only the rows of a view, and those whose view is a problem."""
        if self.layout.view is None:
            detail = f"view_column, needed by view={view!r}"
            self.problems.append(Problem("missing column", None, None, detail))
            return
        words = self._column(self.layout.view)
        used, self.used = self.used, [] if words else self.used
        for row, word in zip(used, words, strict=False):
            found = VIEW_OF.get((word or "").upper())
            if found is None:
                self.report("unknown view" if word else "missing view", [row], word or "")
            elif found != view:
                self.report("other view", [row], word or "", leave_out=True)
                continue
            self.used.append(row)

    def find_files(self, folder: ImageFolder) -> None:
        """Find the image of each row, and check its first bytes."""
        names = self._full_names()
        checked: dict[str, tuple[str, str, str]] = {}
        for row in self.used if names else ():
            name = names[row]
            if name is None:
                self.report("missing name", [row])
                continue
            if name not in checked:
                checked[name] = _check_file(folder, name)
            path, problem, detail = checked[name]
            if problem:
                self.report(problem, [row], detail)
            else:
                self.paths[row] = path
                self.images.setdefault(path, []).append(row)

    def settle_labels(self, labels: Labels, *, uncertain: str, blank: str) -> None:
        """Set the label of each row; the policies decide on uncertain and blank ones."""
        for column in labels.missing:
            self._has(column)
        treatments = {
            UNCERTAIN: ("uncertain label", uncertain),
            BLANK: ("missing label", blank),
            INVALID: ("invalid label", "raise"),
        }
        for row in self.used if labels.codes else ():
            code: int | None = labels.codes[row]
            if code in treatments:
                code = self._decide(*treatments[code], [row], labels.cells[row])
            if code is not None:
                self.labels[row] = code

    def read_patients(self, pattern: str | None) -> None:
        """Set the patient of each row, by a pattern in the path, from the table, or from the file name."""
        if pattern is not None or self.layout.patient is None:
            paths = list(self.paths.values())
            patients_of = patients_by_name(paths) if pattern is None else find_patients(paths, pattern)
            self.patients = dict(zip(self.paths, patients_of.tolist(), strict=True))
            return
        patients = self._column(self.layout.patient, self.layout.patient_pattern)
        for row in self.used if patients else ():
            patient = patients[row]
            if patient is None:
                self.report("missing patient", [row])
            else:
                self.patients[row] = patient

    def compare(self, labels: Labels, *, uncertain: str) -> None:
        """Compare the rows of each image: they must agree, and be one unless the layout has several."""
        readers = texts(self.table[self.layout.rater]) if self.layout.rater in self.table else []
        for rows in self.images.values():
            patients = {self.patients[row] for row in rows if row in self.patients}
            found = self._labels_by_reader(rows, readers)
            if len(found) > 1 and self.layout.rows == "finding":
                label = self._decide("uncertain label", uncertain, rows, "readers disagree")
                found = set() if label is None else {label}
            for row in rows if len(found) > 1 else ():
                self.report("conflicting labels", [row], labels.cells[row])
            for row in rows if len(patients) > 1 else ():
                self.report("conflicting patients", [row], self.patients.get(row, ""))
            if len(rows) > 1 and self.layout.rows == "image" and max(len(found), len(patients)) < 2:
                self.report(_REPEATED, rows[1:], f"same image as row {rows[0]}")
            self.labels.update(dict.fromkeys(rows, min(found)) if len(found) == 1 else {})

    def complete(self) -> list[int]:
        """Return the first row of each image without problems; of repeated rows, the first one is kept."""
        bad = rows_of([each for each in (*self.problems, *self.left_out) if each.problem != _REPEATED])
        return [rows[0] for rows in self.images.values() if bad.isdisjoint(rows)]

    def _column(self, column: str, pattern: str | None = None) -> list[str | None]:
        """Return the cells of a column, or of what a pattern finds in them; an empty list if the column is missing."""
        return texts(extract(self.table[column], pattern)) if self._has(column) else []

    def _has(self, column: str) -> bool:
        """Return whether the table has a column; otherwise, add a problem."""
        if column not in self.table:
            self.problems.append(Problem("missing column", None, None, repr(column)))
        return column in self.table

    def _decide(self, problem: str, policy: str, rows: Sequence[int], detail: str) -> int | None:
        """Return the label that a policy gives to rows; if none, report the rows."""
        if policy not in _DECISIONS:
            self.report(problem, rows, detail, leave_out=policy == "drop")
        return _DECISIONS.get(policy)

    def _full_names(self) -> list[str | None]:
        """Return the name of each image including its folder; an empty list if a column is missing."""
        fields = [field for _, field, _, _ in Formatter().parse(self.layout.folder) if field]
        columns = [self._column(column) for column in (self.layout.image, *fields)]
        names = list[str | None]()
        for name, *cells in zip(*columns, strict=True) if all(columns) else ():
            folder = None if None in cells else self.layout.folder.format_map(dict(zip(fields, cells, strict=True)))
            names.append(None if name is None or folder is None else os.path.join(folder, name))
        return names

    def _labels_by_reader(self, rows: Sequence[int], readers: Sequence[str | None]) -> set[int]:
        """Return the different labels of an image; findings of one reader are combined."""
        labels: dict[Any, int] = {}
        for row in rows:
            if row in self.labels:
                reader = row if self.layout.rows != "finding" else readers[row] if readers else None
                labels[reader] = max(self.labels[row], labels.get(reader, 0))
        return set(labels.values())


def _check_file(folder: ImageFolder, name: str) -> tuple[str, str, str]:
    """Return the path of an image, its problem and the details."""
    found = folder.find(name)
    if not found:
        return "", "missing file", ""
    if len(found) > 1:
        return "", "ambiguous name", list_items(sorted(os.path.relpath(path, folder.root) for path in found))
    why = why_no_image(found[0])
    return found[0], "unreadable file" if why else "", why or ""
