"""Score every image below a folder into a CSV file, one row an image; killed and started again, it goes on.

Run ``python score_folder.py model.joblib folder scores.csv``; README.md says what the columns hold. A research tool,
not a medical device.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import os
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

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a fitted model, as joblib.dump wrote it")
    parser.add_argument("folder", type=Path, help="images, in folders below it too")
    parser.add_argument("scores", type=Path, help="the CSV file that is written, or gone on with")
    parser.add_argument("--batch-size", type=int, default=64, help="images that are scored and written together")
    options = parser.parse_args()
    try:
        # A relative name may look like a URL, and a link would be replaced by a file.
        folder, scores = options.folder.absolute(), Path(os.path.realpath(options.scores))
        images = found(folder)
        with alone(scores):
            rows = score_all(options.model, folder, images, scores, max(1, options.batch_size))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except Exception:  # Python would end with 1, which says something else here
        traceback.print_exc()
        return 2
    n_bad = sum(bool(row[-2]) for row in rows)
    if n_bad:
        print(f"{n_bad} of {len(rows)} images could not be read: see the column 'error'.", file=sys.stderr)
    return 1 if n_bad else 0


def score_all(path: Path, folder: Path, images: list[str], scores: Path, size: int) -> list[list[str]]:
    """Write the rows that are not there yet; return all rows."""
    model, name = loaded(path), hashlib.sha256(path.read_bytes()).hexdigest()
    header = ["file", *(f"probability_{label}" for label in model.classes_), "call", "novelty", "error", "model"]
    rows = finished(scores, header, name)
    done = {row[0] for row in rows}
    left = [image for image in images if cell(image) not in done]
    if left:
        check(model)
    begin(scores, as_csv([header, *rows]))
    write_all(scores, folder, model, name, left, size)
    return read_rows(scores.read_bytes().decode("utf-8"))[1:]


@contextlib.contextmanager
def alone(scores: Path) -> Iterator[None]:
    """Refuse a second run; the system ends the lock of one that was killed. Windows has no such lock."""
    if sys.platform == "win32":
        yield
        return
    lock = Path(f"{scores}.skpneumo-lock")  # not the scores themselves: they are replaced by another file
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.path.samestat(os.fstat(file.fileno()), os.stat(lock))  # and not of a run that has ended
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            raise ValueError(f"{scores} is being written by another run: wait until that one has ended.")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def loaded(path: Path) -> Any:
    """Load a model that keeps nothing of the images on disk."""
    model = skpneumo.load_model(path)
    store_nothing(model)
    return getattr(model, "best_estimator_", model)  # of a search, what it has found


def check(model: Any) -> None:
    """Raise ValueError where the model cannot score an image, whatever it is made of."""
    with tempfile.TemporaryDirectory() as place:
        path = str(Path(place, "blank.png"))
        Image.new("L", (64, 64)).save(path)
        try:
            scored(model, [path])
        except Exception as error:
            raise ValueError(f"The model cannot score images: {error}") from error


def store_nothing(thing: Any) -> None:
    """Reach the fitted copies in searches, thresholds and the like too."""
    if isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            store_nothing(part)
    elif not isinstance(thing, type) and (hasattr(thing, "get_params") or hasattr(thing, "estimator")):
        store_nothing(vars(thing))
        if hasattr(thing, "memory"):
            thing.memory = None


def found(folder: Path) -> list[str]:
    """Return the images below a folder, relative to it, in the same order on each machine; say what is passed over."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder." if folder.exists() else f"{folder} does not exist.")
    images, passed = [], Counter[str]()
    for place, folders, files in os.walk(folder, onerror=refuse):
        passed.update(filter(None, (kind_of_folder(Path(place, name)) for name in folders)))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if kind := kind_of_file(name):
                passed[kind] += 1
            else:
                images.append(Path(place, name).relative_to(folder).as_posix())
    if passed:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(passed.items()))
        print(f"Passed over: {kinds.encode('utf-8', 'backslashreplace').decode()}.", file=sys.stderr)
    if not images:
        raise ValueError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}).")
    return images


def refuse(error: OSError) -> None:
    """Stop at a folder that cannot be read: its images would be missed by nobody."""
    raise error


def kind_of_folder(path: Path) -> str:
    """Return why a folder is passed over, or nothing."""
    return "hidden folder" if path.name.startswith(".") else "linked folder" if path.is_symlink() else ""


def kind_of_file(name: str) -> str:
    """Return why a file is passed over, or nothing."""
    suffix = Path(name).suffix.lower()
    return "hidden" if name.startswith(".") else "" if suffix in SUFFIXES else suffix or "without suffix"


def cell(image: str) -> str:
    """Write a path so that a spreadsheet takes it for text: one that begins with a dot is no formula.

    A name that is no UTF-8 is escaped. No other cell begins with two slashes, so no other name has the same one.
    """
    try:
        image.encode()
    except UnicodeEncodeError:
        return ".//" + image.replace("\\", r"\\").encode("utf-8", "backslashreplace").decode()
    return "./" + image


def read_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def finished(scores: Path, header: list[str], name: str) -> list[list[str]]:
    """Return the rows that stay: not one that a killed run has half written, nor those with an error."""
    data = scores.read_bytes() if scores.exists() else b""
    if as_csv([header]).encode().startswith(data):
        return []
    try:
        rows = read_rows(data.decode("utf-8", "replace"))
    except csv.Error as error:
        raise ValueError(f"{scores} is no file of scores ({error}): name another file.") from error
    if len(rows) > 1 and not (data.endswith(b"\r\n") and len(rows[-1]) == len(header)):
        rows.pop()
    if rows[0] != header or {len(row) for row in rows} != {len(header)}:
        raise ValueError(f"{scores} was begun by another model or program: name another file.")
    if others := {row[-1] for row in rows[1:]} - {name}:
        raise ValueError(f"{scores} was begun by the model {', '.join(sorted(others))}, and this one is {name}.")
    return [row for row in rows[1:] if not row[-2]]


def begin(scores: Path, text: str) -> None:
    """Put the file there whole, or leave it as it is."""
    if not (scores.exists() and scores.read_bytes() == text.encode()):
        with open(f"{scores}.new", "w", encoding="utf-8", newline="") as file:
            append(file, text)
        os.replace(f"{scores}.new", scores)


def as_csv(rows: list[list[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def append(file: Any, text: str) -> None:
    """Write, and return when it is on the disk."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def write_all(scores: Path, folder: Path, model: Any, name: str, images: list[str], size: int) -> None:
    with open(scores, "a", encoding="utf-8", newline="") as file, tqdm(total=len(images), unit="image") as bar:
        for first in range(0, len(images), size):
            some = images[first : first + size]
            said = scored(model, [str(folder / image) for image in some])
            append(file, as_csv([[cell(image), *row, name] for image, row in zip(some, said, strict=True)]))
            bar.update(len(some))


def scored(model: Any, paths: list[str]) -> list[list[Any]]:
    """Return probabilities, call, novelty and error of each image; the readable ones pass the network once."""
    try:
        # Models around a PneumoniaClassifier have no features of their own: images pass the network twice then.
        X = model.features(paths) if getattr(model, "n_views_predict", None) == 1 else paths
        probabilities, calls = model.predict_proba(X), model.predict(X)
        novelty = model.novelty(X) if hasattr(model, "novelty") else [""] * len(paths)
        return [[*p, call, new, ""] for p, call, new in zip(probabilities.tolist(), calls, novelty, strict=True)]
    except ImageReadError as error:
        reasons = {i: " ".join(why.split()) for i, _, why in error.failures}
    left = [i for i in range(len(paths)) if i not in reasons]
    rows = dict(zip(left, scored(model, [paths[i] for i in left]) if left else [], strict=True))
    blank = [""] * (len(model.classes_) + 2)
    return [rows[i] if i in rows else [*blank, reasons[i]] for i in range(len(paths))]


if __name__ == "__main__":
    sys.exit(main())
