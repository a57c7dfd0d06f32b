"""Benchmark of domain shift: fit on original images, evaluate on changed images of other patients.

Run from the root of the repository, with the folder of real X-rays in ``SKPNEUMO_SHARED``:
``python -m tests.benchmarks.shifts --images 400 --folder shifts --out shifts.jsonl``. With ``--folder``, changed images
and features are kept and reused by later runs.
"""

import argparse
import ast
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from skpneumo._images.augmentation import XRAY
from tests.benchmarks import machine
from tests.benchmarks.shifts import data, records, runs
from tests.benchmarks.shifts.changes import CHANGES, STRENGTHS
from tests.benchmarks.shifts.picture import contact_sheet
from tests.benchmarks.shifts.recipes import CHEAP, RECIPES
from tests.benchmarks.shifts.tables import tables


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.name and len(options.recipes or ()) > 1:
        parser.error("--name requires at most one recipe in --recipes (default: probe)")
    if options.show:
        for group in records.comparable(records.load(options.show)):
            print(tables(group, options.verbose), end="\n\n")
    elif options.picture:
        _draw(options)
    elif options.folder:
        _measure(options, options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _measure(options, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.shifts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--source", default="kermany", help="kermany, mnist, or a folder with file names like Kermany's")
    add("--recipes", nargs="+", choices=RECIPES, metavar="NAME", help=f"recipes: {'; '.join(RECIPES)}")
    add("--set", nargs="+", type=_assignment, default=[], metavar="KEY=VALUE", help="override parameters of the recipe")
    add("--name", help="name of the recipe with --set")
    add("--image-size", type=int, default=224)
    add("--n-layers", type=int, default=8)
    add("--weights", help="default: the first 8 layers in SKPNEUMO_SHARED; None: untrained")
    add("--folds", type=int, default=4)
    add("--only-folds", type=int, metavar="K", help="use only the first K folds")
    add(
        "--images",
        type=int,
        metavar="N",
        help="use about N held-out images in total, sampled by patient and stratified",
    )
    add(
        "--changes",
        nargs="+",
        choices=CHANGES,
        default=list(CHANGES),
        metavar="NAME",
        help="changes: " + "; ".join(CHANGES),
    )
    add("--strengths", nargs="+", type=int, choices=STRENGTHS, default=list(STRENGTHS))
    add("--cost", type=int, default=64, metavar="N", help="number of images for measuring the cost; 0: do not measure")
    add("--folder", type=Path, help="folder in which changed images and features are kept")
    add("--memory", help="feature store; default: in the folder; None: no store")
    add("--out", type=Path, metavar="FILE", help="append a record of each recipe, as a line of JSON")
    add("--show", nargs="+", type=Path, metavar="FILE", help="print tables of existing records and exit")
    add("--verbose", action="store_true", help="also print tables by change and strength")
    add("--picture", type=Path, metavar="FILE.png", help="draw an image under all changes and exit")
    add("--files", type=Path, nargs="+", help="images for --picture; default: a normal image of the source")
    return parser


def _assignment(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _draw(options: argparse.Namespace) -> None:
    paths = options.files
    if not paths:
        with tempfile.TemporaryDirectory() as folder:
            _, held = data.folds(options.source, folder)[0]
            contact_sheet([data.gray(held.paths[held.y == 0][0])]).save(options.picture)
    else:
        contact_sheet([data.gray(path) for path in paths]).save(options.picture)


def _measure(options: argparse.Namespace, folder: str | Path) -> None:
    weights = options.weights or data.shared() / "weights" / "vgg19_imagenet_first_8_layers.npz"
    setting = {
        "source": Path(options.source).name,
        "folds": 1 if options.source == "mnist" else options.folds,
        "image_size": options.image_size,
        "n_layers": options.n_layers,
        "weights": Path(weights).name,
        "changes": data.code_of_changes(),
        "views": XRAY.key.hex(),
    }
    common = {
        "weights": None if weights == "None" else weights,
        "n_layers": options.n_layers,
        "image_size": options.image_size,
        "memory": None if options.memory == "None" else options.memory or str(Path(folder, "store")),
    }
    split = data.folds(options.source, folder, n_splits=options.folds, only=options.only_folds, n_images=options.images)
    begun = time.perf_counter()
    folds = [(fit, held, data.changed(held, folder, options.changes, options.strengths)) for fit, held in split]
    print(f"{sum(len(held) for _, held in split)} images changed in {time.perf_counter() - begun:.0f} s", flush=True)
    facts, found = machine.facts(), []
    for name, parameters in _chosen(options).items():
        try:
            record = runs.run(name, {**common, **parameters}, folds, lambda text: print(text, flush=True), options.cost)
        except TypeError as error:
            print(f"{name}: not available: {error}", flush=True)
        except Exception as error:
            print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
        else:
            found.append({**record, "setting": setting, "machine": facts})
            if options.out:
                records.append(options.out, found[-1])
    known = records.load([options.out]) if options.out and options.out.exists() else found
    for group in records.comparable(known):
        if any(record in found for record in group):
            print("", tables(group, options.verbose), sep="\n")


def _chosen(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    bases = options.recipes or (["probe"] if options.set else CHEAP)
    added = "".join(f", {key}={value}" for key, value in options.set)
    return {options.name or base + added: {**RECIPES[base], **dict(options.set)} for base in bases}


if __name__ == "__main__":
    main()
