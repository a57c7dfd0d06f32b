"""Benchmark of site adaptation: a model at a simulated new hospital, adapted without labels, or calibrated with a few.

Run from the root of the repository, with the folder of real X-rays in ``SKPNEUMO_SHARED``:
``python -m tests.benchmarks.new_site --folder shifts``. The held-out patients of each fold are the new site: their
images are changed in exposure, contrast, sharpness, framing and markers, and repeatedly split into local and test
patients. With ``--folder``, changed images and features are kept; it can be the folder of the shift benchmark.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from skpneumo import PneumoniaClassifier, VGG19Features
from tests.benchmarks import machine
from tests.benchmarks.shifts import data, metrics
from tests.benchmarks.shifts.data import Dataset
from tests.benchmarks.shifts.recipes import RECIPES, classifier

METRICS = ("balanced accuracy", "AUC", "Brier score")
UNLABELED = (20, 50, 100)
LABELED = (20, 50, 100)
PREVALENCE, N_LOW = 0.25, 50  # of a local sample with a lower prevalence than the training set, and its size
ERROR = 0.1  # of the stated prevalence
SEVERITIES = (0, 1, 2, 3)
N_RESAMPLES = 400
_MIN_PER_CLASS = 2  # images, for calibration

Sample = tuple[np.ndarray, np.ndarray]
Measured = dict[str, list[np.ndarray]]


def main() -> None:
    options = _parser().parse_args()
    if options.folder:
        _measure(options, options.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _measure(options, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.new_site",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    add("--source", default="kermany", help="kermany, or a folder with file names like Kermany's")
    add("--recipes", nargs="+", choices=RECIPES, metavar="NAME", default=["default", "no views"])
    add(
        "--severities",
        nargs="+",
        type=int,
        choices=SEVERITIES,
        default=list(SEVERITIES),
        help="0: original images",
    )
    add("--draws", type=int, default=10, help="number of splits of a fold into local and test patients")
    add("--image-size", type=int, help="default: that of the recipe")
    add("--n-layers", type=int, help="default: that of the recipe")
    add("--weights", help="default: the first 8 layers in SKPNEUMO_SHARED; None: untrained")
    add("--folds", type=int, default=4)
    add("--only-folds", type=int, metavar="K", help="use only the first K folds")
    add("--images", type=int, metavar="N", help="use about N held-out images in total; half of them are local")
    add("--folder", type=Path, help="folder in which changed images and features are kept")
    add("--memory", help="feature store; default: in the folder")
    return parser


def _measure(options: argparse.Namespace, folder: str | Path) -> None:
    weights = options.weights or data.shared() / "weights" / "vgg19_imagenet_first_8_layers.npz"
    common = {
        "weights": None if weights == "None" else weights,
        "memory": options.memory or str(Path(folder, "store")),
    }
    given = {name: getattr(options, name) for name in ("image_size", "n_layers") if getattr(options, name)}
    folds = data.folds(options.source, folder, n_splits=options.folds, only=options.only_folds, n_images=options.images)
    paths = [_changed(held, folder, options.severities) for _, held in folds]
    print(*machine.facts(), heading(folds, options.draws), sep="\n", flush=True)
    for name in options.recipes:
        begun = time.perf_counter()
        found: dict[int, list[Measured]] = {severity: [] for severity in options.severities}
        for number, (fit, held) in enumerate(folds):
            clf = classifier({**common, **RECIPES[name], **given}).fit(fit.paths, fit.y)
            resamples = metrics.draw_weights(held.patients, N_RESAMPLES)
            for severity, sites in paths[number].items():
                for site in sites:
                    X = features(clf, site)  # once for all models
                    found[severity] += [
                        measured(clf, X, held, resamples, np.random.default_rng([number, draw]))
                        for draw in range(options.draws)
                    ]
        print(f"\n{name} ({time.perf_counter() - begun:.0f} s)\n{table(found)}", flush=True)


def heading(folds: list[tuple[Dataset, Dataset]], n_draws: int) -> str:
    """Describe the images and the table."""
    held = [dataset for _, dataset in folds]
    n_images, n_positive = sum(map(len, held)), sum(int(dataset.y.sum()) for dataset in held)
    return (
        f"{n_images} held-out images in {len(held)} folds, {n_positive} with pneumonia; half of the patients of a fold "
        f"are local, the others are tested, in {n_draws} splits.\n"
        "Severities of the changes 'combined up' and 'combined down'; 0: original images.\n"
        "In brackets: 95 % bootstrap confidence intervals over splits and patients. Repeated rows are omitted."
    )


def _changed(held: Dataset, folder: str | Path, severities: list[int]) -> dict[int, list[np.ndarray]]:
    """Write the images of both sites of each severity, unless they exist."""
    names = ("combined up", "combined down")
    changed = data.changed(held, folder, names, [severity for severity in severities if severity])
    return {s: [np.array(changed[name, s], object) for name in names] if s else [held.paths] for s in severities}


def features(clf: PneumoniaClassifier, paths: np.ndarray) -> np.ndarray:
    """Extract features with the parameters of a classifier."""
    parameters = {name: getattr(clf, name) for name in VGG19Features().get_params()}
    return VGG19Features(**parameters).fit_transform(paths)


def measured(
    clf: PneumoniaClassifier, X: np.ndarray, held: Dataset, weights: np.ndarray, random: np.random.Generator
) -> Measured:
    """Split patients into local and test patients, and evaluate models adapted to the former on the latter.

    Parameters
    ----------
    clf : PneumoniaClassifier
        The model, fitted at its own site.
    X : ndarray of shape (n_images, n_features)
        Features of the images of the new site.
    held : Dataset
        Labels and patients of the images.
    weights : ndarray of shape (1 + n_resamples, n_images)
        From `draw_weights`.
    random : Generator
        Random number generator for the split.

    Returns
    -------
    dict of list of ndarray of shape (1 + n_resamples,)
        The metrics of each row of the table. Rows that need more local images than there are are missing.
    """
    local, test = halves(held, random)
    return {
        name: _metrics(held.y[test], model.predict(X[test]), model.predict_proba(X[test])[:, 1], weights[:, test])
        for name, model in models(clf, X[local], held.y[local])
    }


def halves(held: Dataset, random: np.random.Generator) -> Sample:
    """Split patients into random halves; return the indices of their images in random order of patients."""
    names, patient_of = np.unique(held.patients.astype(str), return_inverse=True)
    while True:
        rank = random.permutation(len(names))[patient_of]
        order = np.argsort(rank, kind="stable")
        local, test = order[rank[order] < len(names) // 2], order[rank[order] >= len(names) // 2]
        if np.bincount(held.y[local[: min(LABELED)]], minlength=2).min() >= _MIN_PER_CLASS:
            return local, test


def models(clf: PneumoniaClassifier, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Yield the model and its versions adapted or calibrated with local images."""
    yield "not adapted", clf
    best = clf
    for n in UNLABELED:
        if n <= len(X):
            best = quietly(clf.adapt, X[:n])
            yield f"adapted on {n}", best
    low = with_prevalence(y, PREVALENCE, N_LOW)
    if len(low) == N_LOW:
        name = f"adapted on {N_LOW}, {PREVALENCE:.0%} positive"
        yield f"{name}, not stated", quietly(clf.adapt, X[low])
        yield f"{name}, stated", clf.adapt(X[low], prevalence=PREVALENCE)
        for wrong in (PREVALENCE - ERROR, PREVALENCE + ERROR):
            yield f"{name}, {wrong:.0%} stated", clf.adapt(X[low], prevalence=wrong)
    for n in LABELED:
        if n <= len(X):
            yield f"adapted on {n} labeled", clf.adapt(X[:n], y[:n])
    for prefix, model in (("", clf), ("adapted, ", best)):
        for n in LABELED:
            if n <= len(X):
                yield from calibrated(f"{prefix}{n} labeled", model, X[:n], y[:n])


def quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `adapt` without the warning that the prevalence is not determined."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The prevalence (cannot be determined|is not estimated)")
        return function(*args, **kwargs)


def calibrated(name: str, clf: Any, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Yield a frozen model with a tuned threshold, calibrated, and calibrated with the prevalence as threshold."""
    frozen = FrozenEstimator(clf)
    tuned = TunedThresholdClassifierCV(
        frozen,
        cv="prefit",
        refit=False,
        scoring="balanced_accuracy",
        response_method="decision_function",  # probabilities may all be 1 under a strong shift
    )
    yield f"{name}: threshold", tuned.fit(X, y)
    # The frozen model is not refitted in the folds; two folds need only two images per class.
    sigmoid = CalibratedClassifierCV(frozen, method="sigmoid", cv=2).fit(X, y)
    yield f"{name}: sigmoid", sigmoid
    at_prevalence = FixedThresholdClassifier(FrozenEstimator(sigmoid), threshold=float(y.mean()))
    yield f"{name}: sigmoid at prevalence", at_prevalence.fit(X, y)


def with_prevalence(y: np.ndarray, prevalence: float, n: int) -> np.ndarray:
    """Return the indices of the first `n` images with a given prevalence, or fewer if there are not enough."""
    n_positive = round(prevalence * n)
    return np.sort(np.concatenate([np.flatnonzero(y == 1)[:n_positive], np.flatnonzero(y == 0)[: n - n_positive]]))


def _metrics(y: np.ndarray, predicted: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Compute the metrics in each bootstrap sample."""
    with np.errstate(invalid="ignore"):  # a sample may have a single class
        rates = [weights @ ((y == label) & (predicted == label)) / (weights @ (y == label)) for label in (0, 1)]
    auc = metrics.auc(y, probability, weights)
    brier = weights @ (probability - y) ** 2 / weights.sum(axis=1)
    return [np.mean(rates, axis=0), auc, brier]


def table(found: dict[int, list[Measured]]) -> str:
    """Format the metrics by severity.

    Parameters
    ----------
    found : dict of list of dict
        The metrics of each split by severity.

    Returns
    -------
    str
        The table.
    """
    all_draws = [draw for draws in found.values() for draw in draws]
    names = [name for name in all_draws[0] if all(name in draw for draw in all_draws)]  # in all splits
    lines = []
    for i, metric in enumerate(METRICS):
        lines += ["", _row(metric, *(f"severity {severity}" for severity in found))]
        rows: list[tuple[str, ...]] = []
        for name in names:
            values = [[draw[name][i] for draw in draws] for draws in found.values()]
            cells = tuple(map(_cell, map(np.array, values)))
            if cells not in rows:
                lines.append(_row(f"  {name}", *cells))
            rows.append(cells)
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    """Average over bootstrap samples of splits and patients."""
    n_draws, n_resamples = len(values), values.shape[1] - 1
    counts = np.random.default_rng(0).multinomial(n_draws, np.full(n_draws, 1 / n_draws), n_resamples).T
    with np.errstate(invalid="ignore"):  # a sample may have a single class
        resampled = np.nansum(values[:, 1:] * counts, axis=0) / (counts * ~np.isnan(values[:, 1:])).sum(axis=0)
    middle, low, high = metrics.interval(np.concatenate([[values[:, 0].mean()], resampled]))
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def _row(name: str, *cells: str) -> str:
    return f"{name:<42}{''.join(f'{cell:>23}' for cell in cells)}".rstrip()


if __name__ == "__main__":
    main()
