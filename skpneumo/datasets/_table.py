"""Load chest X-rays whose labels are in a table."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skpneumo._utils.messages import list_values, stacklevel_of_user
from skpneumo._utils.validation import choices, validated
from skpneumo.datasets._folder import LOADING, import_pandas
from skpneumo.datasets._table_checks import TableRows
from skpneumo.datasets._table_files import ImageFolder, as_path, combine, read_table
from skpneumo.datasets._table_labels import read_labels
from skpneumo.datasets._table_layouts import Layout, find_layout
from skpneumo.datasets._table_problems import Problems

_POLICY = [choices("raise", "drop", "positive", "negative")]


@validated(
    uncertain=_POLICY,
    blank=_POLICY,
    view=[choices("frontal", "lateral"), None],
    on_error=[choices("raise", "drop")],
    **LOADING,
)
def load_xray_table(
    table: Any,
    root: str | os.PathLike[str] | None = None,
    *,
    positive: str | Sequence[str] | None = None,
    uncertain: str = "raise",
    blank: str = "raise",
    view: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    patient_column: str | None = None,
    view_column: str | None = None,
    pattern: str | None = None,
    on_error: str = "raise",
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load paths, labels and patients of the chest X-rays that a table lists.

    The tables of ChestX-ray14, CheXpert, MIMIC-CXR-JPG, the RSNA Pneumonia Detection Challenge, VinDr-CXR and the
    COVID-19 Radiography Database are recognized by their columns. For other tables, pass the names of the columns.
    Each row is checked. Only the first bytes of the images are read.

    Parameters
    ----------
    table : str, path-like, DataFrame, or list of these
        The table, or a file ending in ``.csv``, ``.csv.gz``, ``.tsv``, ``.tsv.gz``, ``.parquet`` or ``.xlsx``. In a
        list, tables with the same columns are appended; a table with other columns is joined to the first one on the
        columns that they share, such as the labels of studies to the list of images.
    root : str or path-like, default=None
        Folder that the names of the images are relative to. If a name is no such path, the folder is searched once for
        a file of this name, which may lack the extension. If None, the folder of the (first) table, or the current
        folder for a DataFrame.
    positive : str or list of str, default=None
        The finding to be predicted: a label, one of several labels separated by ``|``, or a column of 1, 0, -1
        (uncertain) or blank. Images with this finding, or with any in a list, are labeled 1, all others 0. If None,
        each label is a class, in sorted order.
    uncertain : {"raise", "drop", "positive", "negative"}, default="raise"
        How to treat uncertain labels (-1, also without `positive`), and images on which several readers disagree:
        report them as problems, drop the images, or treat the finding as present or as absent.
    blank : {"raise", "drop", "positive", "negative"}, default="raise"
        How to treat missing labels; in files, also words that pandas reads as missing, such as "NA" and "None". In
        CheXpert and MIMIC-CXR, a finding is blank if the report does not mention it.
    view : {"frontal", "lateral"}, default=None
        Load only images of this view. If None, load all.
    image_column : str, default=None
        Column with the names of the images. If given, only the columns passed as parameters are used, even if the
        table is recognized.
    label_column : str, default=None
        Column with the labels.
    patient_column : str, default=None
        Column with the patients. If there is none, patients are read from the file names, as in `load_chest_xrays`.
    view_column : str, default=None
        Column with the views, such as "PA", "AP", "Frontal" or "Lateral".
    pattern : str, default=None
        Regular expression that finds the patient in the absolute path, as in
        :func:`~skpneumo.model_selection.patient_ids`, instead of a column.
    on_error : {"raise", "drop"}, default="raise"
        Whether to raise an error that lists all problems of the table, or to drop the images concerned with a warning.
        The first of several equal rows is kept. Missing columns always raise.
    shuffle : bool, default=True
        Whether to shuffle the images. Otherwise they are in the order of the table.
    random_state : int, RandomState instance or None, default=0
        Determines random number generation for shuffling. Pass an int for reproducible output across multiple function
        calls.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch object.
    as_frame : bool, default=False
        If True, return pandas objects.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_samples, 1), dtype object
            The absolute paths of the images. If `as_frame` is True, a DataFrame with the column ``path``.
        target : ndarray of shape (n_samples,), dtype int
            The labels. If `as_frame` is True, a Series.
        target_names : list of str
            The names of the target classes. With `positive`, the other class is "no Pneumonia", for example, or the
            only other label.
        groups : ndarray of shape (n_samples,), dtype object
            The patient of each image, as str. If neither a column nor the file name contains patients, the image is a
            group of its own, named by its path.
        frame : DataFrame or None
            Only if `as_frame` is True: DataFrame with the columns ``path``, ``label`` and ``patient``, followed by the
            other columns of the table.
        dropped : DataFrame
            One row for each reason to drop an image, with the columns ``problem``, ``row`` (position in the table, as
            for ``iloc``, counted through all appended tables), ``image`` and ``detail``.
        DESCR : str
            Numbers of images, patients and dropped rows.
    (data, target) : tuple if `return_X_y`
        The paths and the labels.

    Raises
    ------
    LabelTableError
        If columns are missing, or rows have problems and `on_error` is "raise": names that are missing, ambiguous or
        without a file; unreadable files; missing, uncertain, invalid or conflicting labels; missing or conflicting
        patients; missing or unknown views; rows that are repeated, or missing in a joined table.
    ValueError
        If a table cannot be read or joined or is not recognized, an option is unknown, `positive` does not occur or is
        a part of other labels, labels differ only in spelling, or no image is left.
    TypeError
        If `table` or `root` has the wrong type.
    FileNotFoundError
        If `table` or `root` does not exist.
    NotADirectoryError
        If `root` is a file.
    ImportError
        If pandas is not installed, or lacks a package that reads the format of the table.

    Warns
    -----
    UserWarning
        If `on_error` is "drop" and images are dropped, or no image of a class is left.

    See Also
    --------
    load_chest_xrays : Load images from folders named by class.
    audit_xrays : Check whether size, format or metadata reveal the labels.

    Notes
    -----
    Images in `root` without a row are ignored, since a table may list a part of a collection.

    Examples
    --------
    >>> import pandas as pd
    >>> from tempfile import TemporaryDirectory
    >>> from skpneumo.datasets import load_xray_table, make_chest_xrays
    >>> with TemporaryDirectory() as folder:
    ...     drawn = make_chest_xrays(12, folder, image_size=64, random_state=0, as_frame=True)
    ...     table = drawn.frame.rename(columns={"path": "file"})
    ...     xrays = load_xray_table(
    ...         table, folder, image_column="file", label_column="diagnosis", patient_column="patient"
    ...     )
    >>> xrays.data.shape, xrays.target_names
    ((12, 1), ['normal', 'pneumonia'])
    """
    pd = import_pandas("load_xray_table needs pandas. Install it with 'pip install pandas'.")
    if pattern is not None and patient_column is not None:
        raise ValueError("Patients are in the patient_column or found by the pattern; got both.")
    given = list(table) if isinstance(table, (list, tuple)) else [table]
    combined, unmatched = combine(pd, [read_table(pd, each) for each in given])
    image, label, patient, view_name = map(_column_name, (image_column, label_column, patient_column, view_column))
    layout = find_layout(combined.columns, image=image, label=label, patient=patient, view=view_name)
    rows = TableRows(combined, layout)
    rows.report("missing row", unmatched, "in a joined table")
    if view is not None:
        rows.select(view)
    findings = _findings(positive, layout, {uncertain, blank})
    labels = read_labels(combined, layout, findings)
    rows.settle_labels(labels, uncertain=uncertain, blank=blank)
    rows.find_files(ImageFolder(_root(root, given[0])))
    rows.read_patients(pattern)
    rows.compare(labels, uncertain=uncertain)
    kept = _complete(pd, rows, on_error)
    if shuffle:
        kept = [kept[i] for i in check_random_state(random_state).permutation(len(kept))]
    codes, names = np.array([rows.labels[row] for row in kept], dtype=np.int64), labels.names
    if not findings:
        codes, names = _used_classes(codes, names)
    bunch = _build_bunch(pd, rows, kept, codes, names, as_frame=as_frame)
    return (bunch.data, bunch.target) if return_X_y else bunch


def _root(root: str | os.PathLike[str] | None, table: Any) -> Path:
    """Return the folder of the images, by default that of the table."""
    if root is not None:
        return as_path(root, "root to be the path of a folder")
    return Path(table).expanduser().parent if isinstance(table, (str, os.PathLike)) else Path()


def _column_name(column: Any) -> str | None:
    """Return the name of a column as in the table, where names are stripped text."""
    return None if column is None else str(column).strip()


def _findings(positive: Any, layout: Layout, policies: set[str]) -> list[str]:
    """Return the findings to be predicted; an empty list if each label is a class."""
    findings = [] if positive is None else [positive] if np.isscalar(positive) else list(positive)
    if not findings and layout.finding is None and not policies.isdisjoint({"positive", "negative"}):
        raise ValueError("uncertain and blank can be 'positive' or 'negative' only if positive is given.")
    return [str(each).strip() for each in findings or [layout.finding] if each is not None]


def _complete(pd: Any, rows: TableRows, on_error: str) -> list[int]:
    """Return a row of each image without problems; raise problems, or warn of them."""
    if rows.problems and (on_error == "raise" or any(each.row is None for each in rows.problems)):
        raise rows.problems.error(pd, rows.table)
    kept = rows.complete()
    if not kept:
        reasons = Problems([*rows.problems, *rows.left_out]).counts() or "the table has no rows"
        raise ValueError(f"No image is left of {len(rows.table)} rows: {reasons}.")
    if rows.problems:
        warnings.warn(
            f"Dropped rows with problems: {rows.problems.counts()}. {len(kept)} of {len(rows.table)} rows are left as "
            "images. The attribute 'dropped' lists the dropped rows.",
            stacklevel=stacklevel_of_user(),
        )
    return kept


def _used_classes(codes: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """Drop the classes without images, with a warning."""
    used, codes = np.unique(codes, return_inverse=True)
    if len(used) < len(names):
        unused = [name for code, name in enumerate(names) if code not in used]
        warnings.warn(
            f"No image is left of the classes {list_values(unused)}; target_names lacks them.",
            stacklevel=stacklevel_of_user(),
        )
    return codes, [names[code] for code in used]


def _build_bunch(
    pd: Any, rows: TableRows, kept: list[int], codes: np.ndarray, names: list[str], *, as_frame: bool
) -> Bunch:
    """Build the Bunch of the images in some rows."""
    columns = {
        "path": np.array([rows.paths[row] for row in kept], dtype=object),
        "label": np.array([names[code] for code in codes], dtype=object),
        "patient": np.array([rows.patients[row] for row in kept], dtype=object),
    }
    bunch = Bunch(
        data=columns["path"].reshape(-1, 1),
        target=codes,
        target_names=names,
        groups=columns["patient"],
        frame=None,
        dropped=Problems([*rows.left_out, *rows.problems]).as_frame(pd),
        DESCR=_describe(rows, columns),
    )
    if as_frame:
        others = rows.table.iloc[kept].drop(columns=list(columns), errors="ignore").reset_index(drop=True)
        bunch.frame = pd.DataFrame(columns).join(others)
        bunch.data = bunch.frame[["path"]].copy()
        bunch.target = pd.Series(codes, name="label")
    return bunch


def _describe(rows: TableRows, columns: dict[str, np.ndarray]) -> str:
    labels, counts = np.unique(columns["label"].astype(str), return_counts=True)
    listed = ", ".join(f"{count} {label}" for label, count in zip(labels, counts, strict=True))
    dropped = Problems([*rows.left_out, *rows.problems]).counts() or "none"
    return (
        f"Chest X-rays listed in a table\n==============================\n\n"
        f"Layout: {rows.layout.name or 'columns named by the user'}\n"
        f"Images: {len(columns['path'])} ({listed})\n"
        f"Patients: {len(set(columns['patient']))}\n"
        f"Dropped rows: {dropped}\n"
    )
