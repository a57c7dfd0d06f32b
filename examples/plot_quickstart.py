"""
Quickstart: from a folder of chest X-rays to a saved model
==========================================================

A folder of (synthetic) chest X-rays goes in, probabilities of pneumonia come out. On the way: an honest estimate by
patient-grouped cross-validation, a grid search that costs one pass over the images for each backbone, a test on
patients that were never seen, and a model in one file.

A research tool, not a medical device.
"""

# %%
# The data
# --------
# Radiographs drawn by a program, several of each patient, in the layout and under names like those of Kermany's data
# on Kaggle. With that data at hand, ``load_chest_xrays("chest_xray")`` gives the same things.

import tempfile
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, confusion_matrix, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_validate

from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import WeightsError
from skpneumo.model_selection import PatientGroupKFold, patient_ids, patient_train_test_split

folder = tempfile.TemporaryDirectory()
films = make_chest_xrays(240, folder.name, prevalence=0.6, difficulty=0.3, random_state=0)
X_train, X_test, y_train, y_test = patient_train_test_split(films.data, films.target, random_state=0)
print(f"{len(X_train)} images of {len(set(patient_ids(X_train)))} patients to train on,")
print(f"{len(X_test)} images of {len(set(patient_ids(X_test)))} other patients to test on.")

# %%
# The model
# ---------
# VGG19 with the ImageNet weights that Keras downloads. Where they cannot be had, an untrained network takes its place:
# everything works the same way, but the numbers say nothing about what the trained one can do.

settings = {"image_size": 160, "n_jobs": 2, "verbose": 1}
weights = "imagenet"
try:
    VGG19Features(weights, **settings).fit_transform(X_train[:1])
except WeightsError:
    print("The ImageNet weights cannot be had here: going on with an UNTRAINED backbone.")
    weights = None
clf = PneumoniaClassifier(weights, **settings)

# %%
# How good is it? Patients, not images, are dealt out to the folds: two films of one child look alike.

scores = cross_validate(clf, X_train, y_train, cv=PatientGroupKFold(5), scoring=["roc_auc", "accuracy"])
print(f"patient-grouped 5-fold: ROC AUC {scores['test_roc_auc'].mean():.3f} +- {scores['test_roc_auc'].std():.3f}, ")
print(f"                        accuracy {scores['test_accuracy'].mean():.3f}")

# %%
# A search over the penalty and the grid. Features are kept on disk, so each grid costs one pass over the images, and
# each candidate and fold the solution of a linear problem.

candidates = {"alpha": [0.005, 0.05, 0.5], "pool_grid": [2, 4]}
search = GridSearchCV(clf, candidates, scoring="roc_auc", cv=PatientGroupKFold(5)).fit(X_train, y_train)
print(f"best of {len(search.cv_results_['params'])} candidates: {search.best_params_}")

# %%
# The test
# --------
# On patients that took no part in any choice.

proba = search.predict_proba(X_test)[:, 1]
(tn, fp), (fn, tp) = confusion_matrix(y_test, proba > 0.5)
print(f"test patients: ROC AUC {roc_auc_score(y_test, proba):.3f}, sensitivity {tp / (tp + fn):.3f}, ", end="")
print(f"specificity {tn / (tn + fp):.3f}")

# %%
# Saved and loaded
# ----------------
# One file of numbers. Loading it imports neither Keras nor TensorFlow; these come in when a new image must pass the
# network.

model = Path(folder.name) / "pneumonia.joblib"
joblib.dump(search.best_estimator_, model)
loaded = joblib.load(model)
assert np.array_equal(loaded.predict_proba(X_test), search.predict_proba(X_test))
print(f"saved, loaded, and equal: {model.stat().st_size / 1000:.0f} kB")

# %%
# The picture
# -----------

figure = plt.figure(figsize=(11, 6), layout="constrained")
grid = figure.add_gridspec(2, 4, height_ratios=[1, 1.3])
shown = [*np.flatnonzero(y_test == 0)[:2], *np.flatnonzero(y_test == 1)[:2]]
for column, i in enumerate(shown):
    ax = figure.add_subplot(grid[0, column])
    with Image.open(X_test[i, 0]) as image:
        ax.imshow(image, cmap="gray", aspect="equal")
    ax.set_title(f"{films.target_names[y_test[i]]}\nprobability of pneumonia {proba[i]:.2f}", fontsize=10)
    ax.axis("off")
ax = figure.add_subplot(grid[1, :2])
RocCurveDisplay.from_predictions(y_test, proba, ax=ax, name="test patients", plot_chance_level=True)
ax = figure.add_subplot(grid[1, 2:])
ConfusionMatrixDisplay.from_predictions(
    y_test, (proba > 0.5).astype(int), display_labels=films.target_names, ax=ax, cmap="Blues", colorbar=False
)
backbone = "VGG19 with ImageNet weights" if weights else "an UNTRAINED VGG19"
figure.suptitle(f"Synthetic radiographs, {backbone} and a linear probe")
figure.savefig("quickstart.png", dpi=110)
print("wrote quickstart.png")
folder.cleanup()
