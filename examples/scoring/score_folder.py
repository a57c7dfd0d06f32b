"""Score all images in a folder and its subfolders and write one row per image to a CSV file.

Run ``python score_folder.py model.joblib folder scores.csv``. An interrupted run can be continued with the same
arguments. README.md describes the columns. A research tool, not a medical device.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import os
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

import skpneumo
from skpneumo.exceptions import ImageReadError

if sys.platform != "win32":
    import fcntl

# Spreadsheets also split at semicolons and tabs, even inside quotes, and skip spaces and quotes. Apostrophes are also
# preceded by another one, so that `original` returns the text.
_CELL = r'((?:^|[;,\t\r\n])[ "]*)'
FORMULA = re.compile(_CELL + r"(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20'])")
APOSTROPHE = re.compile(_CELL + "'")
SUFFIXES = {".bmp", ".dcm", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="fitted model, saved with skpneumo.save_model")
    parser.add_argument("folder", type=Path, help="folder of images, searched recursively")
    parser.add_argument("scores", type=Path, help="CSV file to write or to continue")
    parser.add_argument("--batch-size", type=int, default=64, help="number of images scored and written at once")
    options = parser.parse_args()
    try:
        # A relative path may look like a URL, and os.replace would replace a link by a file.
        folder, scores = options.folder.absolute(), Path(os.path.realpath(options.scores))
        images = find_images(folder)
        with locked(scores):
            rows = score_all(options.model, folder, images, scores, max(1, options.batch_size))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except Exception:  # exit status 1 means unreadable images
        traceback.print_exc()
        return 2
    n_bad = sum(bool(row[-2]) for row in rows)
    if n_bad:
        print(f"{n_bad} of {len(rows)} images could not be read: see the column 'error'.", file=sys.stderr)
    return 1 if n_bad else 0


def score_all(path: Path, folder: Path, images: list[str], scores: Path, size: int) -> list[list[str]]:
    """Write the missing rows; return all rows."""
    model, name = load(path), hashlib.sha256(path.read_bytes()).hexdigest()
    header = ["file", *(f"probability_{label}" for label in model.classes_), "call", "novelty", "error", "model"]
    header = list(map(safe, header))
    rows = complete_rows(scores, header, name)
    done = {row[0] for row in rows}
    missing = [image for image in images if cell(image) not in done]
    if missing:
        check(model)
    replace(scores, as_csv([header, *rows]))
    write_rows(scores, folder, model, name, missing, size)
    return read_rows(scores.read_bytes().decode("utf-8"))[1:]


@contextlib.contextmanager
def locked(scores: Path) -> Iterator[None]:
    """Lock the scores against a second run; the system releases the lock of an interrupted run."""
    if sys.platform == "win32":
        yield
        return
    lock = Path(f"{scores}.skpneumo-lock")  # a separate file, because the scores are replaced
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.fstat(file.fileno()), os.stat(lock))  # a run that ends removes the file
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            raise ValueError(f"{scores} is being written by another run. Wait until it has finished.")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def load(path: Path) -> Any:
    """Load a model that stores no features on disk."""
    model = skpneumo.load_model(path)
    disable_store(model)
    return getattr(model, "best_estimator_", model)  # the best model of a search


def check(model: Any) -> None:
    """Raise ValueError if the model cannot score an image."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "blank.png"))
        Image.new("L", (64, 64)).save(path)
        try:
            score(model, [path])
        except Exception as error:
            raise ValueError(f"The model cannot score images: {error}") from error


def disable_store(thing: Any) -> None:
    """Set ``memory=None`` in a model and in all fitted estimators inside it."""
    if isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            disable_store(part)
    elif not isinstance(thing, type) and (hasattr(thing, "get_params") or hasattr(thing, "estimator")):
        disable_store(vars(thing))
        if hasattr(thing, "memory"):
            thing.memory = None


def find_images(folder: Path) -> list[str]:
    """List the images of a folder by relative path in a fixed order; print the number of skipped files."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder." if folder.exists() else f"{folder} does not exist.")
    images, skipped = [], Counter[str]()
    for parent, folders, files in os.walk(folder, onerror=fail):
        skipped.update(filter(None, (reason_to_skip_folder(Path(parent, name)) for name in folders)))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if reason := reason_to_skip_file(name):
                skipped[reason] += 1
            else:
                images.append(Path(parent, name).relative_to(folder).as_posix())
    if skipped:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(skipped.items()))
        print(f"Skipped: {counts.encode('utf-8', 'backslashreplace').decode()}.", file=sys.stderr)
    if not images:
        raise ValueError(f"{folder} contains no image ({', '.join(sorted(SUFFIXES))}).")
    return images


def fail(error: OSError) -> None:
    """Raise an error for an unreadable folder, whose images would be missing silently."""
    raise error


def reason_to_skip_folder(path: Path) -> str:
    """Return the reason why a folder is skipped, or an empty string."""
    return "hidden folder" if path.name.startswith(".") else "linked folder" if path.is_symlink() else ""


def reason_to_skip_file(name: str) -> str:
    """Return the reason why a file is skipped, or an empty string."""
    suffix = Path(name).suffix.lower()
    return "hidden" if name.startswith(".") else "" if suffix in SUFFIXES else suffix or "without suffix"


def cell(image: str) -> str:
    """Return the path as a unique CSV cell that starts with a dot, so that spreadsheets do not read it as a formula.

    Names that are not valid UTF-8 are escaped after a double slash, with which no other cell starts.
    """
    try:
        image.encode()
    except UnicodeEncodeError:
        return safe(".//" + image.replace("\\", r"\\").encode("utf-8", "backslashreplace").decode())
    return safe("./" + image)


def safe(text: str) -> str:
    """Put an apostrophe where a spreadsheet would read a formula: at the start, and after what may separate cells."""
    return FORMULA.sub(r"\1'", text)


def original(text: str) -> str:
    """Return the text that `safe` has changed."""
    return APOSTROPHE.sub(r"\1", text)


def read_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def complete_rows(scores: Path, header: list[str], name: str) -> list[list[str]]:
    """Return the rows to keep: complete rows without an error."""
    data = scores.read_bytes() if scores.exists() else b""
    if as_csv([header]).encode().startswith(data):
        return []
    try:
        rows = read_rows(data.decode("utf-8", "replace"))
    except csv.Error as error:
        raise ValueError(f"{scores} is not a file of scores ({error}). Choose another file.") from error
    if len(rows) > 1 and not (data.endswith(b"\r\n") and len(rows[-1]) == len(header)):
        rows.pop()
    if rows[0] != header or {len(row) for row in rows} != {len(header)}:
        raise ValueError(f"{scores} was not written by this script and model. Choose another file.")
    if others := {row[-1] for row in rows[1:]} - {name}:
        raise ValueError(
            f"{scores} was written with the model {', '.join(sorted(others))}, not with the "
            f"given model {name}. Choose another file."
        )
    return [row for row in rows[1:] if not row[-2]]


def replace(scores: Path, text: str) -> None:
    """Replace the file atomically, unless it has the same content."""
    if not (scores.exists() and scores.read_bytes() == text.encode()):
        with open(f"{scores}.new", "w", encoding="utf-8", newline="") as file:
            append(file, text)
        os.replace(f"{scores}.new", scores)


def as_csv(rows: list[list[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def append(file: Any, text: str) -> None:
    """Write the text and sync it to disk."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def write_rows(scores: Path, folder: Path, model: Any, name: str, images: list[str], size: int) -> None:
    with open(scores, "a", encoding="utf-8", newline="") as file, tqdm(total=len(images), unit="image") as bar:
        for first in range(0, len(images), size):
            batch = images[first : first + size]
            rows = score(model, [str(folder / image) for image in batch])
            append(file, as_csv([[cell(image), *row, name] for image, row in zip(batch, rows, strict=True)]))
            bar.update(len(batch))


def score(model: Any, paths: list[str]) -> list[list[Any]]:
    """Compute probabilities, predicted label, novelty and error of each image."""
    try:
        # Features are computed once for all predictions; a meta-estimator has no features method.
        X = model.features(paths) if getattr(model, "n_views_predict", None) == 1 else paths
        probabilities, labels = model.predict_proba(X), model.predict(X)
        novelty = model.novelty(X) if hasattr(model, "novelty") else [""] * len(paths)
        calls = [safe(label) if isinstance(label, str) else label for label in labels.tolist()]
        return [[*p, call, value, ""] for p, call, value in zip(probabilities.tolist(), calls, novelty, strict=True)]
    except ImageReadError as error:
        reasons = {i: safe(" ".join(reason.split())) for i, _, reason in error.failures}
    readable = [i for i in range(len(paths)) if i not in reasons]
    rows = dict(zip(readable, score(model, [paths[i] for i in readable]) if readable else [], strict=True))
    blank = [""] * (len(model.classes_) + 2)
    return [rows[i] if i in rows else [*blank, reasons[i]] for i in range(len(paths))]


if __name__ == "__main__":
    sys.exit(main())
