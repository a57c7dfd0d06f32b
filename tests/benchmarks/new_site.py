"""A fitted model at its next hospital, imitated: as it is, adapted without labels, and re-set with a few of them.

Run from the root of the repository, with the folder of real films in ``SKPNEUMO_SHARED``:
``python -m tests.benchmarks.new_site --folder shifts``. Each fold's held-out patients are the other site: their films
are changed in exposure, contrast, sharpness, framing and markers all at once, and drawn into local and test patients,
again and again. A folder that is named keeps the changed films and all features; it may be that of the shift bench.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from skpneumo import PneumoniaClassifier, VGG19Features
from tests.benchmarks import machine
from tests.benchmarks.shifts import figures, films
from tests.benchmarks.shifts.films import Films
from tests.benchmarks.shifts.recipes import RECIPES, classifier

METRICS = ("balanced accuracy", "AUC", "Brier score")
UNLABELLED = (20, 50, 100)
LABELLED = (20, 50, 100)
SHARE, N_OF_SHARE = 0.25, 50  # ill in a local sample that is unlike the training, and its size
OFF = 0.1  # from that share
SEVERITIES = (0, 1, 2, 3)
N_RESAMPLES = 400
_FEWEST = 2  # films of each class that calibration needs

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
    add("--source", default="kermany", help="kermany, or a folder of films named like Kermany's")
    add("--recipes", nargs="+", choices=RECIPES, metavar="NAME", default=["probe", "probe, 4 views"])
    add("--severities", nargs="+", type=int, choices=SEVERITIES, default=list(SEVERITIES), help="0: films as they are")
    add("--draws", type=int, default=10, help="how often the patients of a fold are drawn into local and test patients")
    add("--image-size", type=int, default=224)
    add("--n-layers", type=int, default=8)
    add("--weights", help="default: the first 8 layers in SKPNEUMO_SHARED; None: untrained")
    add("--folds", type=int, default=4)
    add("--only-folds", type=int, metavar="K", help="the first K folds alone")
    add("--images", type=int, metavar="N", help="about N films held out in all; half of a fold's are local")
    add("--folder", type=Path, help="keeps changed films and features from run to run")
    add("--memory", help="the feature store, if not in the folder")
    return parser


def _measure(options: argparse.Namespace, folder: str | Path) -> None:
    weights = options.weights or films.shared() / "weights" / "vgg19_imagenet_first_8_layers.npz"
    common = {
        "weights": None if weights == "None" else weights,
        "n_layers": options.n_layers,
        "image_size": options.image_size,
        "memory": options.memory or str(Path(folder, "store")),
    }
    folds = films.folds(
        options.source, folder, n_splits=options.folds, only=options.only_folds, n_images=options.images
    )
    paths = [_changed(held, folder, options.severities) for _, held in folds]
    print(*machine.facts(), heading(folds, options.draws), sep="\n", flush=True)
    for name in options.recipes:
        begun = time.perf_counter()
        found: dict[int, list[Measured]] = {severity: [] for severity in options.severities}
        for number, (fit, held) in enumerate(folds):
            clf = classifier({**common, **RECIPES[name]}).fit(fit.paths, fit.y)
            resamples = figures.draw_weights(held.patients, N_RESAMPLES)
            for severity, sites in paths[number].items():
                for site in sites:
                    X = features(clf, site)  # once, since all models below see the same
                    found[severity] += [
                        measured(clf, X, held, resamples, np.random.default_rng([number, draw]))
                        for draw in range(options.draws)
                    ]
        print(f"\n{name} ({time.perf_counter() - begun:.0f} s)\n{table(found)}", flush=True)


def heading(folds: list[tuple[Films, Films]], n_draws: int) -> str:
    """Say what the films are."""
    held = [films for _, films in folds]
    n, ill = sum(map(len, held)), sum(int(films.y.sum()) for films in held)
    return (
        f"{n} films held out in {len(held)} folds, {ill} with pneumonia; half of the patients of a fold are local, the "
        f"others are tested, in {n_draws} draws.\nSeverities are those of the changes 'combined up' and 'combined "
        "down'; 0: films as they are.\nIn brackets: 95 % intervals, by a bootstrap over draws and patients. A row that "
        "says what one above it says is left out."
    )


def _changed(held: Films, folder: str | Path, severities: list[int]) -> dict[int, list[np.ndarray]]:
    """Write the films of both sites of each severity, where they are not written yet."""
    names = ("combined up", "combined down")
    changed = films.changed(held, folder, names, [severity for severity in severities if severity])
    return {s: [np.array(changed[name, s], object) for name in names] if s else [held.paths] for s in severities}


def features(clf: PneumoniaClassifier, paths: np.ndarray) -> np.ndarray:
    """Extract what a classifier sees, as it would."""
    parameters = {name: getattr(clf, name) for name in VGG19Features().get_params()}
    return VGG19Features(**parameters).fit_transform(paths)


def measured(
    clf: PneumoniaClassifier, X: np.ndarray, held: Films, weights: np.ndarray, random: np.random.Generator
) -> Measured:
    """Draw local and test patients, and measure on the latter what the former can do for a model.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Fitted at its own site.
    X : ndarray of shape (n_films, n_features)
        Features of films as the other site makes them.
    held : Films
        What is on them.
    weights : ndarray of shape (1 + n_resamples, n_films)
        From `draw_weights`.
    random : Generator
        Draws the patients.

    Returns
    -------
    dict of list of ndarray of shape (1 + n_resamples,)
        The metrics of each row of the table. A local sample larger than there are films has none.
    """
    local, test = halves(held, random)
    return {
        name: _figures(held.y[test], model.predict(X[test]), model.predict_proba(X[test])[:, 1], weights[:, test])
        for name, model in models(clf, X[local], held.y[local])
    }


def halves(held: Films, random: np.random.Generator) -> Sample:
    """Draw patients into two halves; return the places of their films, in the order of the draw."""
    names, patient_of = np.unique(held.patients.astype(str), return_inverse=True)
    while True:
        rank = random.permutation(len(names))[patient_of]
        order = np.argsort(rank, kind="stable")
        local, test = order[rank[order] < len(names) // 2], order[rank[order] >= len(names) // 2]
        if np.bincount(held.y[local[: min(LABELLED)]], minlength=2).min() >= _FEWEST:
            return local, test


def models(clf: PneumoniaClassifier, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Make of a model all that local films make of it, unlabelled and labelled ones."""
    yield "as it is", clf
    best = clf
    for n in UNLABELLED:
        if n <= len(X):
            best = clf.adapt(X[:n])
            yield f"adapted on {n}", best
    few = of_share(y, SHARE, N_OF_SHARE)
    if len(few) == N_OF_SHARE:
        yield f"on {N_OF_SHARE}, {SHARE:.0%} ill, unsaid", clf.adapt(X[few])
        yield f"on {N_OF_SHARE}, {SHARE:.0%} ill, stated", clf.adapt(X[few], prevalence=SHARE)
        for wrong in (SHARE - OFF, SHARE + OFF):
            yield f"on {N_OF_SHARE}, {SHARE:.0%} ill, {wrong:.0%} stated", clf.adapt(X[few], prevalence=wrong)
    for prefix, model in (("", clf), ("adapted, ", best)):
        for n in LABELLED:
            if n <= len(X):
                yield from relabelled(f"{prefix}{n} labelled", model, X[:n], y[:n])


def relabelled(name: str, clf: Any, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Calibrate a frozen model by local labels, or choose its threshold."""
    frozen = FrozenEstimator(clf)
    tuned = TunedThresholdClassifierCV(
        frozen,
        cv="prefit",
        refit=False,
        scoring="balanced_accuracy",
        response_method="decision_function",  # probabilities of a model that is far off are all 1
    )
    yield f"{name}: threshold", tuned.fit(X, y)
    # Nothing is fitted in these folds, so two are as good as five, and ask for two films of a class only.
    calibrated = CalibratedClassifierCV(frozen, method="sigmoid", cv=2).fit(X, y)
    yield f"{name}: sigmoid", calibrated
    moved = FixedThresholdClassifier(FrozenEstimator(calibrated), threshold=float(y.mean()))
    yield f"{name}: sigmoid at share", moved.fit(X, y)


def of_share(y: np.ndarray, share: float, n: int) -> np.ndarray:
    """Return the places of the first `n` films, a share of them ill; fewer where there are no more."""
    n_ill = round(share * n)
    return np.sort(np.concatenate([np.flatnonzero(y == 1)[:n_ill], np.flatnonzero(y == 0)[: n - n_ill]]))


def _figures(y: np.ndarray, predicted: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Compute the metrics in each resample."""
    odds = logit(probability.clip(1e-15, 1 - 1e-15))
    auc = figures.measure(y, odds, weights)[0]
    _, _, *rates = figures.measure(y, np.where(predicted == 1, 1.0, -1.0), weights)
    brier = weights @ (probability - y) ** 2 / weights.sum(axis=1)
    return [np.mean(rates, axis=0), auc, brier]


def table(found: dict[int, list[Measured]]) -> str:
    """Print the metrics by severity.

    Parameters
    ----------
    found : dict of list of dict
        By severity, what each draw has measured.

    Returns
    -------
    str
        Lines.
    """
    all_draws = [draw for draws in found.values() for draw in draws]
    names = [name for name in all_draws[0] if all(name in draw for draw in all_draws)]  # others have fewer films
    lines = []
    for place, metric in enumerate(METRICS):
        lines += ["", _row(metric, *(f"severity {severity}" for severity in found))]
        rows: list[tuple[str, ...]] = []
        for name in names:
            values = [[draw[name][place] for draw in draws] for draws in found.values()]
            cells = tuple(map(_cell, map(np.array, values)))
            if cells not in rows:
                lines.append(_row(f"  {name}", *cells))
            rows.append(cells)
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    """Average over draws, drawn anew in each resample."""
    n_draws, n_resamples = len(values), values.shape[1] - 1
    counts = np.random.default_rng(0).multinomial(n_draws, np.full(n_draws, 1 / n_draws), n_resamples).T
    with np.errstate(invalid="ignore"):  # a resample of few patients may hold one class only
        resampled = np.nansum(values[:, 1:] * counts, axis=0) / (counts * ~np.isnan(values[:, 1:])).sum(axis=0)
    middle, low, high = figures.interval(np.concatenate([[values[:, 0].mean()], resampled]))
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def _row(name: str, *cells: str) -> str:
    return f"{name:<42}{''.join(f'{cell:>23}' for cell in cells)}".rstrip()


if __name__ == "__main__":
    main()
