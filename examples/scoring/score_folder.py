"""Score every image below a folder into a CSV file, one row an image; killed and started again, it goes on.

Run ``python score_folder.py model.joblib folder scores.csv``; README.md says what the columns hold. A research tool,
not a medical device.
"""

import argparse
import csv
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

import skpneumo
from skpneumo.exceptions import ImageReadError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a fitted model, as joblib.dump wrote it")
    parser.add_argument("folder", type=Path, help="images, in folders below it too")
    parser.add_argument("scores", type=Path, help="the CSV file that is written, or gone on with")
    parser.add_argument("--batch-size", type=int, default=64, help="images that are scored and written together")
    options = parser.parse_args()
    images = list(found(options.folder))
    if not images:
        parser.error(f"{options.folder} holds no image ({', '.join(sorted(SUFFIXES))})")
    try:
        model, name = loaded(options.model), hashlib.sha256(options.model.read_bytes()).hexdigest()
        header = ["file", *(f"probability_{label}" for label in model.classes_), "call", "novelty", "error", "model"]
        done = resumed(options.scores, header, name)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    write_all(options, model, name, [image for image in images if cell(image) not in done])
    rows = read_rows(options.scores.read_text(encoding="utf-8"))[1:]
    n_bad = sum(bool(row[-2]) for row in rows)
    if n_bad:
        print(f"{n_bad} of {len(rows)} images could not be read: see the column 'error'.", file=sys.stderr)
    return 1 if n_bad else 0


def loaded(path: Path) -> Any:
    """Load a model that keeps nothing of the images on disk."""
    model = skpneumo.load_model(path)
    store_nothing(model)
    return getattr(model, "best_estimator_", model)  # of a search, what it has found


def store_nothing(thing: Any) -> None:
    """Reach the fitted copies in searches, thresholds and the like too."""
    if isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            store_nothing(part)
    elif not isinstance(thing, type) and (hasattr(thing, "get_params") or hasattr(thing, "estimator")):
        store_nothing(vars(thing))
        if hasattr(thing, "memory"):
            thing.memory = None


def found(folder: Path) -> Iterator[str]:
    """Yield the images below a folder, relative to it, in the same order on each machine."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield (Path(place, name).relative_to(folder)).as_posix()


def cell(image: str) -> str:
    """Write a path so that a spreadsheet takes it for text: one that begins with a dot is no formula."""
    return "./" + image.encode("utf-8", "backslashreplace").decode()


def read_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def resumed(scores: Path, header: list[str], name: str) -> set[str]:
    """Begin the file, or cut off what a killed run has half written; return the images that it holds."""
    text = scores.read_bytes().decode("utf-8", "replace") if scores.exists() else ""
    rows = read_rows(text)
    if rows and not (text.endswith("\r\n") and len(rows[-1]) == len(header)):
        rows.pop()
    if rows and rows[0] != header:
        raise ValueError(f"{scores} was begun by another model or program: name another file.")
    if others := {row[-1] for row in rows[1:]} - {name}:
        raise ValueError(f"{scores} was begun by the model {', '.join(sorted(others))}, and this one is {name}.")
    kept = as_csv(rows or [header])
    if kept != text:
        with open(f"{scores}.new", "w", encoding="utf-8", newline="") as file:
            append(file, kept)
        os.replace(f"{scores}.new", scores)
    return {row[0] for row in rows[1:]}


def as_csv(rows: list[list[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def append(file: Any, text: str) -> None:
    """Write, and return when it is on the disk."""
    file.write(text)
    file.flush()
    os.fsync(file.fileno())


def write_all(options: argparse.Namespace, model: Any, name: str, images: list[str]) -> None:
    size = max(1, options.batch_size)
    with open(options.scores, "a", encoding="utf-8", newline="") as file, tqdm(total=len(images), unit="image") as bar:
        for first in range(0, len(images), size):
            some = images[first : first + size]
            said = scored(model, [str(options.folder / image) for image in some])
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
