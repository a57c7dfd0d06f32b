"""Problems of a label table, collected before any is raised."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from skpneumo._utils.messages import list_items
from skpneumo.exceptions import LabelTableError


class Problem(NamedTuple):
    """Problem of a row, or of the whole table if the row is None."""

    problem: str
    row: int | None
    image: str | None
    detail: str


class Problems(list[Problem]):
    """List of problems that raises one error for all of them."""

    def as_frame(self, pd: Any) -> Any:
        """Return a DataFrame with one row for each problem."""
        return pd.DataFrame(list(self), columns=list(Problem._fields)).astype({"row": "Int64"})

    def counts(self) -> str:
        """Return the number of problems of each kind as text."""
        return ", ".join(f"{len(found)} {kind}" for kind, found in self._by_kind().items())

    def error(self, pd: Any, table: Any) -> LabelTableError:
        """Return an error that shows the number of problems of each kind and the first ten."""
        kinds = self._by_kind()
        width = max(map(len, kinds))
        lines = [f"The table of {len(table)} rows has {len(self)} problem{'s' if len(self) > 1 else ''}:", ""]
        lines += [
            f"  {kind:<{width}} {len(found):>6}  {list_items([_show(each) for each in found], max_length=160)}"
            for kind, found in kinds.items()
        ]
        lines += ["", "Fix the table, or drop the images concerned with on_error='drop'."]
        if "missing column" in kinds:
            lines[-1] = f"Fix the table, or pass the names of its columns: {list_items(list(table.columns))}."
        if not kinds.keys().isdisjoint({"missing label", "uncertain label"}):
            lines.append("The parameters blank and uncertain set how to treat missing and uncertain labels.")
        if "missing label" in kinds:
            lines.append("In files, words such as NA and None count as missing.")
        if "invalid label" in kinds:
            lines.append(
                "Labels are words or whole numbers; in the column of a finding, 1, 0, -1 (uncertain) or blank. Pass a "
                "column of words as label_column, and one of its words as positive."
            )
        if any((each.image or "").isdecimal() for each in kinds.get("missing file", ())):
            lines.append(
                "Numbers lack the leading zeros of names: read the column of images as text, as with dtype=str."
            )
        lines.append("The attribute 'problems' of this error lists all problems.")
        return LabelTableError("\n".join(lines), self.as_frame(pd))

    def _by_kind(self) -> dict[str, list[Problem]]:
        kinds: dict[str, list[Problem]] = {}
        for each in self:
            kinds.setdefault(each.problem, []).append(each)
        return kinds


def _show(problem: Problem) -> str:
    if problem.row is None:
        return problem.detail
    name = f" {problem.image!r}" if problem.image else ""
    return f"row {problem.row}{name}{f' ({problem.detail})' if problem.detail else ''}"


def rows_of(problems: Sequence[Problem]) -> set[int]:
    """Return the rows that have problems."""
    return {each.row for each in problems if each.row is not None}
