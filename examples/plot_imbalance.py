"""
=====================================================
Class imbalance: class weights, resampling, threshold
=====================================================

A classifier rarely predicts a rare class. Common remedies are class weights, resampling and a different threshold. This
example compares their effect on discrimination (AUC), calibration (Brier score, calibration slope and intercept) and
classification (sensitivity and specificity).

By default, the images are synthetic and the backbone is untrained, so that the example runs anywhere. If the
environment variable ``SKPNEUMO_SHARED`` is set, the example uses real X-rays and weights from that folder; the user
guide shows the results.
"""

# %%
# Data
# ----
# Patients with pneumonia are removed at random until about 10 % of the images show pneumonia. The real collection is
# also evaluated at its own prevalence of 74 %.

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.model_selection import TunedThresholdClassifierCV

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import load_chest_xrays, make_chest_xrays
from skpneumo.metrics import diagnostic_report
from skpneumo.model_selection import PatientGroupKFold, patient_ids

folder = tempfile.TemporaryDirectory()
shared = os.environ.get("SKPNEUMO_SHARED")
if shared:
    xrays = load_chest_xrays(Path(shared, "xrays", "kermany"))
    weights = Path(shared, "weights", "vgg19_imagenet_first_8_layers.npz")
    # The parameters of the results in the user guide.
    layers = {"weights": weights, "n_layers": 8, "image_size": 224, "norm": None, "alpha": 0.05}
else:
    xrays = make_chest_xrays(500, folder.name, prevalence=0.5, image_size=96, difficulty=0.5, random_state=0)
    # Strong regularization, because a few positive images are easily overfitted and then underestimated.
    layers = {"weights": None, "n_layers": 4, "image_size": 96, "alpha": 0.2}


def with_prevalence(prevalence):
    """Remove random patients with pneumonia to reach a prevalence."""
    positive = np.random.RandomState(0).permutation(np.unique(xrays.groups[xrays.target == 1]))
    n_positive = np.cumsum([np.sum(xrays.groups == patient) for patient in positive])
    kept = positive[n_positive <= prevalence / (1 - prevalence) * np.sum(xrays.target == 0)]
    chosen = (xrays.target == 0) | np.isin(xrays.groups, kept)
    return xrays.data[chosen], xrays.target[chosen]


datasets = {"Low prevalence": with_prevalence(0.1)}
if shared:
    datasets["Original prevalence"] = (xrays.data, xrays.target)

# %%
# Methods
# -------
# The baseline without class weights, balanced class weights (the default), three samplers (applied to the training
# folds only), and a threshold that is tuned for balanced accuracy by patient-grouped cross-validation of the baseline
# in the training folds. ``decision_function`` gives the uncorrected log-odds; ``predict_proba`` corrects the
# probabilities for class weights and resampling. One view per image is enough here, because all images are from one
# site.

store = os.path.join(folder.name, "store")
clf = PneumoniaClassifier(**layers, n_views=1, class_weight=None, memory=store, random_state=0)
methods = {
    "baseline": {},
    "class_weight": {"class_weight": "balanced"},
    "oversampling": {"sampler": "over"},
    "undersampling": {"sampler": "under"},
    "SMOTE": {"sampler": "smote"},
}
METRICS = ("roc_auc", "brier_score", "calibration_slope", "calibration_intercept", "sensitivity", "specificity")


def out_of_fold(model, X, y):
    """Compute out-of-fold probabilities, uncorrected and corrected."""
    uncorrected, corrected = np.zeros((2, len(y)))
    for train, test in PatientGroupKFold(5).split(X, y):
        model.fit(X[train], y[train])
        uncorrected[test] = expit(model.decision_function(X[test]))
        corrected[test] = model.predict_proba(X[test])[:, 1]
    return uncorrected, corrected


def evaluate(y, proba, groups):
    """Compute diagnostic metrics with a threshold of 0.5."""
    report = diagnostic_report(y, proba, threshold=0.5, groups=groups)
    return {name: report[name] for name in METRICS}


results = {}
for title, (X, y) in datasets.items():
    groups = patient_ids(X)
    rows = results[title] = {}
    for method, parameters in methods.items():
        model = PneumoniaClassifier(**(clf.get_params() | parameters))
        uncorrected, corrected = out_of_fold(model, X, y)
        if parameters:
            rows[f"{method}, uncorrected"] = evaluate(y, uncorrected, groups)
            rows[f"{method}, corrected"] = evaluate(y, corrected, groups)
        else:
            rows[method] = evaluate(y, corrected, groups)
    tuned = TunedThresholdClassifierCV(clf, scoring="balanced_accuracy", cv=PatientGroupKFold(5))
    y_pred = np.zeros(len(y))
    for train, test in PatientGroupKFold(5).split(X, y):
        y_pred[test] = tuned.fit(X[train], y[train]).predict(X[test])
    report = evaluate(y, y_pred, groups)  # the probabilities are those of the baseline
    rows["tuned threshold"] = rows["baseline"] | {name: report[name] for name in ("sensitivity", "specificity")}

    print(f"\n{title}: {len(y)} images of {len(np.unique(groups))} patients, prevalence {y.mean():.1%}")
    print(f"{'':26}" + "".join(f"{name.replace('_', ' '):>27}" for name in METRICS))
    for method, metrics in rows.items():
        cells = [f"{m.estimate:.3f} ({m.lower:.3f} to {m.upper:.3f})" for m in (metrics[name] for name in METRICS)]
        print(f"{method:26}" + "".join(f"{cell:>27}" for cell in cells))

# %%
# Results
# -------
# All rows except the last use a threshold of 0.5. ``predict`` uses the uncorrected log-odds: class weights and samplers
# are meant to change the predicted labels.

title, rows = next(iter(results.items()))
fig, axes = plt.subplots(1, 4, figsize=(11, 4), sharey=True, layout="constrained")
positions = np.arange(len(rows))[::-1]
panels = {
    "roc_auc": "AUC",
    "calibration_intercept": "Calibration intercept\n(0 is ideal)",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
for ax, (name, label) in zip(axes, panels.items(), strict=True):
    values = [metrics[name] for metrics in rows.values()]
    for position, method, value in zip(positions, rows, values, strict=True):
        color = "C1" if "uncorrected" in method else "C2" if method == "tuned threshold" else "C0"
        ax.plot([value.lower, value.upper], [position, position], color=color)
        ax.plot(value.estimate, position, "o", color=color)
    ax.set_title(label, fontsize=10)
    if name == "calibration_intercept":
        ax.axvline(0, color="0.6", linestyle=":")
axes[0].set_yticks(positions, list(rows))
fig.suptitle(f"{title}, with 95 % confidence intervals clustered by patient", fontsize=11)
plt.show()

# %%
# Class weights and oversampling hardly change the AUC; undersampling discards images, and the AUC is lower here.
# Without correction, all of them overestimate the probability of pneumonia; the correction restores the calibration of
# the baseline. Class weights, samplers and a tuned threshold all predict the rare class more often. Class weights are
# the default, because the labels of ``predict`` then do not depend on the prevalence in the training data, and the
# probabilities of ``predict_proba`` remain calibrated. To reach a certain sensitivity or specificity, **choose a
# threshold**: it can be reported, changed later, and does not affect calibration. Samplers have no advantage over class
# weights here.

folder.cleanup()
