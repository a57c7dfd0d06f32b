"""
===========================================
Rare classes: weights, samplers, thresholds
===========================================

Where one class is rare, a classifier rarely calls it. Class weights and resampling are the usual answers, and a
threshold is another one. This example shows what each does to three things that are easily mixed up: how well the
classes are ranked (AUC), whether probabilities mean what they say (Brier score, calibration), and which images are
called ill (sensitivity and specificity).

By default the images are synthetic and the backbone is untrained, so that the example runs anywhere. With real films
and weights in the folder that ``SKPNEUMO_SHARED`` names, it uses these; the user guide shows what came out.
"""

# %%
# Films
# -----
# Some 10 % of the patients have pneumonia. Of the real films, patients with pneumonia are left out until that is so,
# and the collection as it is, with 74 %, is measured too.

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
    films = load_chest_xrays(Path(shared, "xrays", "kermany"))
    layers = {"weights": Path(shared, "weights", "vgg19_imagenet_first_8_layers.npz"), "n_layers": 8}
else:
    films = make_chest_xrays(500, folder.name, prevalence=0.5, image_size=96, difficulty=0.5, random_state=0)
    layers = {"weights": None, "n_layers": 4, "image_size": 96}


def with_prevalence(prevalence):
    """Leave out ill patients, drawn by lot, until as few films are of them."""
    ill = np.random.RandomState(0).permutation(np.unique(films.groups[films.target == 1]))
    n_ill = np.cumsum([np.sum(films.groups == patient) for patient in ill])
    kept = ill[n_ill <= prevalence / (1 - prevalence) * np.sum(films.target == 0)]
    chosen = (films.target == 0) | np.isin(films.groups, kept)
    return films.data[chosen], films.target[chosen]


collections = {"pneumonia is rare": with_prevalence(0.1)}
if shared:
    collections["as collected"] = (films.data, films.target)

# %%
# Ways to handle it
# -----------------
# Nothing; weights in the loss; three samplers, which see training folds alone. What ``decision_function`` says is shown
# as a probability before the correction, what ``predict_proba`` says is after it. The threshold is tuned on training
# folds, by patients, for the best balanced accuracy, on the probabilities of a model that knows of no imbalance.

clf = PneumoniaClassifier(**layers, memory=os.path.join(folder.name, "store"), random_state=0)
ways = {
    "nothing": {},
    "class_weight": {"class_weight": "balanced"},
    "over": {"sampler": "over"},
    "under": {"sampler": "under"},
    "smote": {"sampler": "smote"},
}
FIGURES = ("roc_auc", "brier_score", "calibration_slope", "calibration_intercept", "sensitivity", "specificity")


def out_of_fold(model, X, y):
    """Return probabilities, before and after correction, of patients that each model has not seen."""
    before, after = np.zeros((2, len(y)))
    for train, test in PatientGroupKFold(5).split(X, y):
        model.fit(X[train], y[train])
        before[test] = expit(model.decision_function(X[test]))
        after[test] = model.predict_proba(X[test])[:, 1]
    return before, after


def measure(y, proba, groups):
    """Judge probabilities, called ill from one half on."""
    report = diagnostic_report(y, proba, threshold=0.5, groups=groups)
    return {name: report[name] for name in FIGURES}


results = {}
for title, (X, y) in collections.items():
    groups = patient_ids(X)
    rows = results[title] = {}
    for way, parameters in ways.items():
        model = PneumoniaClassifier(**(clf.get_params() | parameters))
        before, after = out_of_fold(model, X, y)
        if parameters:
            rows[f"{way}, uncorrected"] = measure(y, before, groups)
            rows[f"{way}, corrected"] = measure(y, after, groups)
        else:
            rows[way] = measure(y, after, groups)
    tuned = TunedThresholdClassifierCV(clf, scoring="balanced_accuracy", cv=PatientGroupKFold(5))
    called = np.zeros(len(y))
    for train, test in PatientGroupKFold(5).split(X, y):
        called[test] = tuned.fit(X[train], y[train]).predict(X[test])
    calls = measure(y, called, groups)  # the probabilities are those of "nothing"
    rows["tuned threshold"] = rows["nothing"] | {name: calls[name] for name in ("sensitivity", "specificity")}

    print(f"\n{title}: {len(y)} films of {len(np.unique(groups))} patients, {y.mean():.1%} with pneumonia")
    print(f"{'':26}" + "".join(f"{name.replace('_', ' '):>27}" for name in FIGURES))
    for way, figures in rows.items():
        cells = [f"{f.estimate:.3f} ({f.lower:.3f} to {f.upper:.3f})" for f in (figures[name] for name in FIGURES)]
        print(f"{way:26}" + "".join(f"{cell:>27}" for cell in cells))

# %%
# What it shows
# -------------
# The corrected rows are called ill from a *probability* of one half on, as those of "nothing" are; ``predict`` calls
# like the uncorrected rows, since that is what weights are for.

title, rows = next(iter(results.items()))
fig, axes = plt.subplots(1, 4, figsize=(11, 4), sharey=True, layout="constrained")
places = np.arange(len(rows))[::-1]
panels = {
    "roc_auc": "AUC: the ranking",
    "calibration_intercept": "calibration intercept\n(0: as many as said)",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
for ax, (name, label) in zip(axes, panels.items(), strict=True):
    values = [figures[name] for figures in rows.values()]
    for place, way, figure in zip(places, rows, values, strict=True):
        color = "C1" if "uncorrected" in way else "C2" if way == "tuned threshold" else "C0"
        ax.plot([figure.lower, figure.upper], [place, place], color=color)
        ax.plot(figure.estimate, place, "o", color=color)
    ax.set_title(label, fontsize=10)
    if name == "calibration_intercept":
        ax.axvline(0, color="0.6", linestyle=":")
axes[0].set_yticks(places, list(rows))
fig.suptitle(f"{title}; bars are 95 % intervals over patients", fontsize=11)
plt.show()

# %%
# Weights and over-sampling hardly touch the ranking; under-sampling throws films away, which shows in it here. Without
# a correction, all of them make more patients look ill; the correction brings that back to where "nothing" is. Calls
# move towards the rare class by weights, by samplers and by a tuned threshold alike. So the advice is: **leave the
# classes as they are, and choose a threshold**, which can be stated, moved later and costs no calibration. Use weights
# where ``predict`` itself has to be balanced; probabilities stay honest then too.

folder.cleanup()
