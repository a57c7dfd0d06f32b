"""Benchmark of recipes at home, under simulated shifts, at a second site, and on PneumoniaMNIST.

Run from the root of the repository, with the folder of real X-rays in ``SKPNEUMO_SHARED``:
``python -m tests.benchmarks.shifts --images 400 --folder shifts --out shifts.jsonl``. With ``--folder``, changed images
and features are kept and reused by later runs. The sources:

kermany      patient-grouped folds; held-out images are original and changed
second_site  fitted on all images of kermany, evaluated on images of another site
mnist        PneumoniaMNIST, fitted on training images and evaluated on validation images, at 64 pixels
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
from tests.benchmarks.shifts.three_classes import three_classes


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.name and len(options.recipes or ()) > 1:
        parser.error("--name requires at most one recipe in --recipes (default: default)")
    if "second_site" in options.sources and options.aspect != "stretch":
        parser.error("second_site requires --aspect stretch, as its images are squashed")
    if options.show:
        for group in records.comparable(records.load(options.show)):
            print(tables(group, options.verbose), end="\n\n")
    elif options.picture:
        _draw(options)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            (_three_classes if options.three_classes else _measure)(options, options.folder or temporary)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.shifts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add(
        "--sources",
        nargs="+",
        default=["kermany", "second_site", "mnist"],
        metavar="SOURCE",
        help="kermany, second_site, mnist, or a folder with file names like Kermany's",
    )
    add(
        "--recipes",
        nargs="+",
        choices=RECIPES,
        metavar="NAME",
        help=f"recipes: {'; '.join(RECIPES)} (default: {'; '.join(CHEAP)})",
    )
    add("--set", nargs="+", type=_assignment, default=[], metavar="KEY=VALUE", help="override parameters of the recipe")
    add("--name", help="name of the recipe with --set")
    add("--aspect", choices=("crop", "pad", "stretch"), default="stretch", help="of all recipes")
    add("--image-size", type=int, help="of all recipes; default: that of each recipe, and 64 for mnist")
    add("--n-layers", type=int, help="of all recipes; default: that of each recipe")
    add("--weights", help="default: the first 8 layers in SKPNEUMO_SHARED; None: untrained")
    add("--folds", type=int, default=4)
    add("--only-folds", type=int, metavar="K", help="use only the first K folds")
    add("--images", type=int, metavar="N", help="use about N held-out images of each source, sampled by patient")
    names = f"{'; '.join(CHANGES)} (mnist: only {', '.join(data.CHANGES_OF['mnist'])})"
    add("--changes", nargs="+", choices=CHANGES, default=list(CHANGES), metavar="NAME", help=f"changes: {names}")
    add("--strengths", nargs="+", type=int, choices=STRENGTHS, default=list(STRENGTHS))
    add("--cost", type=int, default=64, metavar="N", help="number of images for measuring the cost; 0: do not measure")
    add("--folder", type=Path, help="folder in which changed images and features are kept")
    add("--memory", help="feature store; default: in the folder; None: no store")
    add("--out", type=Path, metavar="FILE", help="append a record of each recipe, as a line of JSON")
    add("--show", nargs="+", type=Path, metavar="FILE", help="print tables of existing records and exit")
    add("--three-classes", action="store_true", help="normal, bacteria and virus with one recipe, without changes")
    add("--verbose", action="store_true", help="also print tables by change and strength")
    add("--picture", type=Path, metavar="FILE.png", help="draw an image under all changes and exit")
    add("--files", type=Path, nargs="+", help="images for --picture; default: a normal image of the first source")
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
            _, held = data.folds(options.sources[0], folder)[0]
            contact_sheet([data.gray(held.paths[held.y == 0][0])]).save(options.picture)
    else:
        contact_sheet([data.gray(path) for path in paths]).save(options.picture)


def _measure(options: argparse.Namespace, folder: str | Path) -> None:
    setting, facts, found = _setting(options), machine.facts(), []
    sources = {Path(source).name: _source(source, options, folder) for source in options.sources}
    for name, parameters in _chosen(options, folder).items():
        try:
            record = runs.run(name, parameters, sources, lambda text: print(text, flush=True), options.cost)
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


def _three_classes(options: argparse.Namespace, folder: str | Path) -> None:
    name, parameters = next(iter(_chosen(options, folder).items()))
    print(name)
    for source in options.sources:
        if source != "mnist":
            print("", *three_classes(parameters, source, _folds(source, options, folder, "etiology")), sep="\n")


def _folds(
    source: str, options: argparse.Namespace, folder: str | Path, target: str = "diagnosis"
) -> list[tuple[data.Dataset, data.Dataset]]:
    return data.folds(
        source, folder, n_splits=options.folds, only=options.only_folds, n_images=options.images, target=target
    )


def _source(source: str, options: argparse.Namespace, folder: str | Path) -> runs.Source:
    """Write the changed images of a source."""
    begun, split = time.perf_counter(), _folds(source, options, folder)
    changes = [name for name in options.changes if name in data.CHANGES_OF.get(source, CHANGES)]
    folds = [(fit, held, data.changed(held, folder, changes, options.strengths)) for fit, held in split]
    n_images = sum(len(held) for _, held in split)
    print(f"{source}: {n_images} held-out images prepared in {time.perf_counter() - begun:.0f} s", flush=True)
    fixed = {"image_size": data.MNIST_SIDE} if source == "mnist" and not options.image_size else {}
    return runs.Source(folds, fixed)


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "folds": options.folds,
        "aspect": options.aspect,
        "image_size": options.image_size,
        "n_layers": options.n_layers,
        "weights": Path(_weights(options)).name,
        "changes": data.code_of_changes(),
        "views": XRAY.key.hex(),
    }


def _weights(options: argparse.Namespace) -> str | Path:
    return options.weights or data.shared() / "weights" / "vgg19_imagenet_first_8_layers.npz"


def _chosen(options: argparse.Namespace, folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of the chosen recipes by name."""
    weights = _weights(options)
    common = {
        "weights": None if weights == "None" else weights,
        "aspect": options.aspect,
        "memory": None if options.memory == "None" else options.memory or str(Path(folder, "store")),
    }
    given = {name: getattr(options, name) for name in ("image_size", "n_layers") if getattr(options, name)}
    bases = options.recipes or (["default"] if options.set or options.three_classes else CHEAP)
    added = "".join(f", {key}={value}" for key, value in options.set)
    return {options.name or base + added: {**common, **RECIPES[base], **given, **dict(options.set)} for base in bases}


if __name__ == "__main__":
    main()
