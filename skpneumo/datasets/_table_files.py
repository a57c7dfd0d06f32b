"""Read label tables, and find the files of images by name."""

import os
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from skpneumo._utils.files import open_file
from skpneumo._utils.messages import list_items, shortened

_SUFFIXES = (".bmp", ".dcm", ".dicom", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_SEPARATORS = {",": ",", ";": ";", "\t": "\\t", "|": "|"}  # with their text in messages
_FORMATS = {
    "csv": "text in UTF-8 with the separator ','",
    "tsv": "text in UTF-8 with the separator '\\t'",
    "parquet": "a Parquet file",
    "xlsx": "an Excel file",
}
_REMEDY = "and pass the DataFrame, with the folder of the images as root."


def read_table(pd: Any, table: Any) -> Any:
    """Read a table from a file, all cells as text, or return a copy of a DataFrame with stripped column names."""
    source = "the table"
    if not isinstance(table, pd.DataFrame):
        path = as_path(table, "a DataFrame, the path of a table, or a list of these")
        source, table = f"'{path}'", _read_file(pd, path)
    table = table.rename(columns=lambda name: str(name).strip())
    if not table.columns.is_unique:
        repeated = table.columns[table.columns.duplicated()].tolist()
        raise ValueError(f"The columns of {source} must have different names; repeated: {list_items(repeated)}.")
    return table.reset_index(drop=True)


def as_path(value: Any, expected: str) -> Path:
    """Return a path, or raise an error with the expected kinds of value."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"Expected {expected}; got an object of type {type(value).__name__}.")
    return Path(value).expanduser()


def combine(pd: Any, tables: list[Any]) -> tuple[Any, list[int]]:
    """Combine tables: append those with the same columns, join the others on shared columns.

    Returns
    -------
    table : DataFrame
        The combined table.
    unmatched : list of int
        Rows without a match in a joined table.
    """
    if not tables:
        raise ValueError("Expected a table or a list of tables; got an empty list.")
    combined, *others = tables
    unmatched = set[int]()
    for other in others:
        shared = [column for column in combined.columns if column in other.columns]
        if len(shared) == len(combined.columns) == len(other.columns):
            combined = pd.concat([combined, other], ignore_index=True)
            continue
        if not shared or other.duplicated(shared).any():
            raise ValueError(
                "A further table must have the same columns as the first one, or shared columns whose values identify "
                f"each of its rows. Shared columns: {list_items(shared) or 'none'}."
            )
        try:
            combined = combined.merge(other, how="left", on=shared, indicator="_merge")
        except ValueError as error:
            types = [f"{column} ({combined[column].dtype} and {other[column].dtype})" for column in shared]
            raise ValueError(
                f"Tables cannot be joined on columns of different types: {list_items(types)}. Convert one of them with "
                "table[column].astype(str), or pass all tables as files, whose cells are read as text."
            ) from error
        unmatched.update((combined.pop("_merge") == "left_only").to_numpy().nonzero()[0].tolist())
    return combined, sorted(unmatched)


def texts(column: Any) -> list[str | None]:
    """Return the cells of a column as stripped text; None for blank ones."""
    missing = column.isna()
    return [None if blank else _text(value) for value, blank in zip(column.tolist(), missing, strict=True)]


def extract(column: Any, pattern: str | None) -> Any:
    """Return the part of each cell that matches a pattern; blank where none does."""
    return column if pattern is None else column.astype(str).str.extract(f"({pattern})", expand=False)


def _text(value: Any) -> str | None:
    whole = isinstance(value, float) and value.is_integer()  # integers become floats in a column with blank cells
    return str(int(value) if whole else value).strip() or None


def _read_file(pd: Any, path: Path) -> Any:
    ending = path.name.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if ending not in _FORMATS:
        raise ValueError(
            f"The name of a table must end in .csv, .csv.gz, .tsv, .tsv.gz, .parquet or .xlsx; got '{path}'. Read "
            f"other tables with pandas, {_REMEDY}"
        )
    separator = {"csv": ",", "tsv": "\t"}.get(ending)
    if not path.is_dir():  # pandas reads folders of Parquet files
        open_file(path).close()  # raises an error for a pipe, on which pandas would wait
    try:
        if ending == "parquet":
            return pd.read_parquet(path)
        # pandas renames repeated columns, and takes further cells as the index, unless the header is read as a row.
        if separator is None:
            table = pd.read_excel(path, header=None, dtype=str)
        else:
            table = pd.read_csv(path, sep=separator, header=None, dtype=str, encoding="utf-8-sig")
    except (ImportError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # the readers have no common class of errors
        reason, how = str(error).strip(" .\n"), " (read_csv, with encoding or sep)" if separator else ""
        raise ValueError(
            f"The table '{path}' cannot be read: {shortened(reason)}. Expected {_FORMATS[ending]}. Fix the file, or "
            f"read it with pandas{how}, {_REMEDY}"
        ) from error
    return _with_header(table, path, separator)


def _with_header(table: Any, path: Path, separator: str | None) -> Any:
    """Take the first row as the names of the columns, as text."""
    if table.empty:
        raise ValueError(f"The table '{path}' is empty. Expected a row with the names of the columns.")
    header = [f"Unnamed: {i}" if name is None else name for i, name in enumerate(texts(table.iloc[0]))]
    others = [each for each in _SEPARATORS if separator and each in header[0]]
    if len(header) == 1 and others:
        shown = _SEPARATORS[others[0]]
        raise ValueError(
            f"The table '{path}' has a single column, {header[0]!r}. Its separator seems to be '{shown}'. Read it with "
            f"pandas.read_csv(..., sep='{shown}', dtype=str), {_REMEDY}"
        )
    return table.iloc[1:].set_axis(header, axis=1)


class ImageFolder:
    """Folder whose images are found by name.

    Parameters
    ----------
    root : Path
        The folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.exists():
            raise FileNotFoundError(f"The folder '{root}' does not exist: pass the folder with the images as root.")
        if not root.is_dir():
            raise NotADirectoryError(f"Expected a folder with images as root, got the file '{root}'.")
        self.root = Path(os.path.abspath(root))

    def find(self, name: str) -> list[str]:
        """Return the absolute paths of the files that a name fits.

        A name that is no path relative to the folder fits a file anywhere in it that has this name, with or without
        the extension, regardless of case. If the name contains folders, one of the two paths must end in the other.
        """
        path = os.path.join(self.root, name)
        if os.path.isfile(path):
            return [os.path.abspath(path)]
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if os.path.isabs(name) or not parts:
            return []
        found = [each for each in self._files.get(parts[-1].lower(), ()) if self._fits(each, parts)]
        same_case = [each for each in found if each[-1].startswith(parts[-1])]
        return [str(self.root.joinpath(*each)) for each in same_case or found]

    @cached_property
    def _files(self) -> dict[str, list[tuple[str, ...]]]:
        """Parts of the paths of all files by name, and of images by name without extension."""
        files: dict[str, list[tuple[str, ...]]] = {}
        for folder, _, names in os.walk(self.root):
            folders = Path(folder).relative_to(self.root).parts
            for name in names:
                stem, suffix = os.path.splitext(name.lower())
                is_image = suffix in _SUFFIXES and not name.startswith(".")
                for key in {name.lower(), stem} if is_image else {name.lower()}:
                    files.setdefault(key, []).append((*folders, name))
        return files

    def _fits(self, file: tuple[str, ...], parts: tuple[str, ...]) -> bool:
        """Compare folders; those of the name may begin above or below the root."""
        wanted = [part.lower() for part in parts[:-1]]
        inside = [part.lower() for part in file[:-1]]
        whole = [part.lower() for part in self.root.parts] + inside
        return whole[len(whole) - len(wanted) :] == wanted or (bool(inside) and wanted[-len(inside) :] == inside)
