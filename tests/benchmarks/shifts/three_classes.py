"""Three classes at home and at the second site: one-vs-rest AUCs and the confusion matrix of one recipe."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from tests.benchmarks.shifts.data import Dataset
from tests.benchmarks.shifts.metrics import auc, draw_weights, interval
from tests.benchmarks.shifts.recipes import classifier

KINDS = ("normal", "bacteria", "virus")


def three_classes(parameters: Mapping[str, Any], source: str, folds: list[tuple[Dataset, Dataset]]) -> Iterator[str]:
    """Fit a recipe on each fold and evaluate all held-out images.

    Parameters
    ----------
    parameters : mapping
        Parameters of the classifier.
    source : str
        Name of the source.
    folds : list of tuple of Dataset
        Training and held-out images of each fold, with the etiology as label.

    Yields
    ------
    str
        The lines of the report.
    """
    models = [classifier(parameters).fit(fit.paths, fit.y) for fit, _ in folds]
    proba = np.vstack([model.predict_proba(held.paths) for model, (_, held) in zip(models, folds, strict=True)])
    predicted = np.concatenate([model.predict(held.paths) for model, (_, held) in zip(models, folds, strict=True)])
    y = np.concatenate([held.y for _, held in folds])
    weights = draw_weights(np.concatenate([held.patients for _, held in folds]))
    yield f"{source}: {len(y)} held-out images"
    yield f"{'AUC, one vs. rest':<22}" + "".join(f"{kind:>24}" for kind in KINDS)
    cells = [interval(auc((y == code).astype(int), proba[:, code], weights)) for code in range(len(KINDS))]
    yield " " * 22 + "".join(f"{f'{middle:.3f} [{low:.3f}, {high:.3f}]':>24}" for middle, low, high in cells)
    yield f"{'true / predicted':<22}" + "".join(f"{kind:>10}" for kind in KINDS)
    for kind, counts in zip(KINDS, confusion_matrix(y, predicted, labels=range(len(KINDS))), strict=True):
        yield f"{kind:<22}" + "".join(f"{count:>10}" for count in counts)
