"""Benchmark of uncertainty: ``python -m tests.benchmarks.uncertainty``.

A model is fitted on half of the patients of the X-rays ``kermany`` in the folder ``SKPNEUMO_SHARED``, and its
prediction sets on a quarter. The output shows where the errors are, on images of the other patients, unchanged and
modified, and at ``second_site``.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

from skpneumo import PneumoniaClassifier
from skpneumo._heads.novelty import domain_shift
from skpneumo.datasets import load_chest_xrays
from skpneumo.model_selection import patient_ids
from tests.benchmarks.shifts import data

CHANGES = ("exposure up", "exposure down", "contrast down", "blur", "crop", "framing", "combined up", "combined down")
STRENGTH = 2
NOVEL = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.uncertainty", description=__doc__)
    parser.add_argument("--alpha", type=float, default=0.1, help="level of the prediction sets")
    parser.add_argument("--memory", default="auto", help="feature store")
    options = parser.parse_args()
    xrays, site = (load_chest_xrays(data.shared() / "xrays" / name) for name in ("kermany", "second_site"))
    images = data.Dataset(xrays.data.ravel().astype(str).astype(object), xrays.target, patient_ids(xrays.data))
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=0)
    quarters = [images[held] for _, held in splitter.split(images.paths, images.y, images.patients)]
    weights = data.shared() / "weights" / "vgg19_imagenet_first_8_layers.npz"
    clf = PneumoniaClassifier(str(weights), aspect="stretch", memory=options.memory)
    fitted, labels = (np.concatenate([getattr(part, name) for part in quarters[2:]]) for name in ("paths", "y"))
    clf = clf.fit(fitted, labels).conformalize(quarters[0].paths, quarters[0].y)
    home = quarters[1]
    with tempfile.TemporaryDirectory() as folder:
        changed = data.changed(home, folder, CHANGES, [STRENGTH])
        sets = {"home": (home.paths, home.y)}
        sets |= {name: (np.array(paths, object), home.y) for (name, _), paths in changed.items()}
        sets["second site"] = (site.data.ravel().astype(str), np.asarray(site.target))
        for name, (paths, y) in sets.items():
            print("\n".join([name, *lines(clf, clf.features(paths), y, options.alpha)]), flush=True)


def lines(clf: PneumoniaClassifier, X: np.ndarray, y: np.ndarray, alpha: float) -> Iterator[str]:
    """Yield the lines of the output for the features and labels of one set of images."""
    predicted, in_set, novelty = clf.predict(X), clf.predict_set(X, alpha=alpha), clf.novelty(X)
    is_wrong, certainty = predicted != y, np.abs(clf.decision_function(X))
    shift, _ = domain_shift(clf.reference_, X, clf.feature_mean_, clf.feature_scale_)
    yield (
        f"  {len(y)} images, {is_wrong.sum()} errors, balanced accuracy {balanced_accuracy_score(y, predicted):.3f}; "
        f"shift of the whole set {shift:.1f} times that by chance"
    )
    for code, label in enumerate(("normal", "pneumonia")):
        n_in, n = int(in_set[y == code, code].sum()), int((y == code).sum())
        low, high = binomtest(n_in, n).proportion_ci(method="wilson")
        yield f"  {label} in its set: {n_in / n:.3f} ({low:.3f} to {high:.3f})"
    sizes = in_set.sum(axis=1)
    flags = {
        "both classes in the set": sizes == 2,
        "no class in the set": sizes == 0,
        f"novelty at most {NOVEL}": novelty <= NOVEL,
    }
    for text, flag in flags.items():
        yield f"  {text}: {flag.mean():.1%} of the images, {is_wrong[flag].sum()} of {is_wrong.sum()} errors"
    yield (
        f"  area under the risk-coverage curve: {risk_coverage(is_wrong, certainty):.4f} by certainty, "
        f"{risk_coverage(is_wrong, novelty):.4f} by novelty, {is_wrong.mean():.4f} at random"
    )


def risk_coverage(is_wrong: np.ndarray, confidence: np.ndarray) -> float:
    """Return the mean error rate of the most confident images, over all numbers of images."""
    ordered = is_wrong[np.argsort(-confidence, kind="stable")]
    return float(np.mean(np.cumsum(ordered) / np.arange(1, len(ordered) + 1)))


if __name__ == "__main__":
    main()
