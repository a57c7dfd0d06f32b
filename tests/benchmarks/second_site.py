"""Benchmark of site adaptation at a real second site: ``python -m tests.benchmarks.second_site``.

A model is fitted on the X-rays ``kermany`` in the folder ``SKPNEUMO_SHARED`` and adapted to parts of ``second_site``:
without labels at several prevalences, stated or not, and with a few labels. The output shows the balanced accuracy
before and after.
"""

import argparse
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import load_chest_xrays
from tests.benchmarks.new_site import quietly
from tests.benchmarks.shifts import data

PREVALENCES = (0.1, 0.25, 0.5, 0.75, 0.9)
UNLABELED = (50, 100, 1000)  # 1000: as many images as the site has at this prevalence
LABELED = (20, 50, 100)
ALLOWED_LOSS = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.second_site", description=__doc__)
    add = parser.add_argument
    add("--draws", type=int, default=20, help="number of random draws of the images for adaptation")
    add("--aspect", default="stretch")
    add("--weights", help="default: the first 8 layers in SKPNEUMO_SHARED")
    add("--memory", default="auto", help="feature store")
    options = parser.parse_args()
    weights = options.weights or data.shared() / "weights" / "vgg19_imagenet_first_8_layers.npz"
    home, site = (load_chest_xrays(data.shared() / "xrays" / name) for name in ("kermany", "second_site"))
    clf = PneumoniaClassifier(str(weights), aspect=options.aspect, memory=options.memory)
    clf.fit(home.data, home.target)
    for line in lines(clf, clf.features(site.data), np.asarray(site.target), options.draws):
        print(line, flush=True)


def lines(clf: PneumoniaClassifier, X: np.ndarray, y: np.ndarray, n_draws: int) -> Iterator[str]:
    """Yield the lines of the output for the features and labels of a second site."""
    before = accuracy(clf, X, y)
    yield (
        f"{len(y)} images, {y.mean():.0%} with pneumonia. Not adapted: balanced accuracy {before:.3f}, "
        f"AUC {roc_auc_score(y, clf.decision_function(X)):.3f}, {brier(clf, X, y)}"
    )
    whole = quietly(clf.adapt, X)
    yield (
        f"Adapted to all images without labels: balanced accuracy {accuracy(whole, X, y):.3f}, {brier(whole, X, y)}, "
        f"{estimate(whole)}"
    )
    stated = clf.adapt(X, prevalence=float(y.mean()))
    yield f"The same, prevalence stated: balanced accuracy {accuracy(stated, X, y):.3f}, {brier(stated, X, y)}"
    for name, error in (("not stated", None), ("stated", 0.0), ("stated 0.1 too low", -0.1), ("0.1 too high", 0.1)):
        yield (
            f"\nWithout labels, prevalence {name}. Change of balanced accuracy on these images (mean, lowest of the "
            "draws), on the whole site, and draws with a loss above 0.01 on either"
        )
        for prevalence in PREVALENCES:
            for n in UNLABELED if error is None else (100,):
                yield _unlabeled(clf, X, y, prevalence, n, n_draws, error)
    yield "\nWith labels. Balanced accuracy on the other images: mean over draws (2.5 and 97.5 percentile)"
    for n in LABELED:
        yield _labeled(clf, X, y, n, n_draws)


def _unlabeled(
    clf: PneumoniaClassifier, X: np.ndarray, y: np.ndarray, prevalence: float, n: int, n_draws: int, error: float | None
) -> str:
    stated = None if error is None else float(np.clip(prevalence + error, 0.02, 0.98))
    if stated is not None and stated != prevalence + error:
        return f"  {prevalence:4.0%}: not possible"
    own, everywhere, before, estimates, n_used, used = [], [], [], [], 0, 0
    for draw in range(n_draws):
        rows = sample(y, prevalence, n, np.random.default_rng([draw, n, int(1000 * prevalence)]))
        adapted = quietly(clf.adapt, X[rows], prevalence=stated)
        before.append(accuracy(clf, X[rows], y[rows]))
        own.append(accuracy(adapted, X[rows], y[rows]) - before[-1])
        everywhere.append(accuracy(adapted, X, y) - accuracy(clf, X, y))
        n_used, used = len(rows), used + ("stated_share" in adapted.reference_)
        if "prevalence_interval" in adapted.reference_:
            low, high = adapted.reference_["prevalence_interval"]
            estimates.append([adapted.reference_["stated_share"][1], low <= y[rows].mean() <= high])
    text = f", adapted in {used} of {n_draws}" if error is None else ""
    if estimates:
        mean, covered = np.mean(estimates, axis=0)
        text += f", mean estimate {mean:.2f}, interval correct in {covered:.0%}"
    harm = np.mean(np.minimum(own, everywhere) < -ALLOWED_LOSS)
    return (
        f"  {prevalence:4.0%} of {n_used:3} images: before {np.mean(before):.3f}; {np.mean(own):+.3f}, "
        f"{np.min(own):+.3f}; {np.mean(everywhere):+.3f}, {np.min(everywhere):+.3f}; {harm:.0%}{text}"
    )


def _labeled(clf: PneumoniaClassifier, X: np.ndarray, y: np.ndarray, n: int, n_draws: int) -> str:
    scores: dict[str, list[float]] = {}
    briers = []
    for draw in range(n_draws):
        order = np.random.default_rng([draw, n]).permutation(len(y))
        few, others = order[:n], order[n:]
        models = {
            "not adapted": clf,
            "without labels": quietly(clf.adapt, X[few]),
            "with labels": clf.adapt(X[few], y[few]),
        }
        for name, model in models.items():
            scores.setdefault(name, []).append(accuracy(model, X[others], y[others]))
        briers.append([brier_score_loss(y[others], models[name].predict_proba(X[others])[:, 1]) for name in models])
    cells = []
    for name, brier_score in zip(scores, np.mean(briers, axis=0), strict=True):
        low, high = np.percentile(scores[name], (2.5, 97.5))
        cells.append(f"{name} {np.mean(scores[name]):.3f} ({low:.3f}, {high:.3f}), Brier score {brier_score:.3f}")
    return f"  {n:3} labels: {'; '.join(cells)}"


def sample(y: np.ndarray, prevalence: float, n: int, random: np.random.Generator) -> np.ndarray:
    """Draw at most `n` images with a given prevalence, or as many as there are."""
    positive, negative = (random.permutation(np.flatnonzero(y == label)) for label in (1, 0))
    n = min(n, int(len(positive) / prevalence), int(len(negative) / (1 - prevalence)))
    n_positive = round(prevalence * n)
    return np.concatenate([positive[:n_positive], negative[: n - n_positive]])


def accuracy(clf: Any, X: np.ndarray, y: np.ndarray) -> float:
    return float(balanced_accuracy_score(y, clf.predict(X)))


def brier(clf: Any, X: np.ndarray, y: np.ndarray) -> str:
    return f"Brier score {brier_score_loss(y, clf.predict_proba(X)[:, 1]):.3f}"


def estimate(adapted: PneumoniaClassifier) -> str:
    """Describe the estimated prevalence."""
    if "prevalence_interval" not in adapted.reference_:
        return "prevalence not determined"
    low, high = adapted.reference_["prevalence_interval"]
    return f"prevalence {adapted.reference_['stated_share'][1]:.2f} ({low:.2f}, {high:.2f})"


if __name__ == "__main__":
    main()
