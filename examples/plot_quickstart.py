"""
Quick start: from a folder of chest X-rays to a saved model
===========================================================

This example trains a pneumonia classifier on a folder of synthetic chest X-rays: patient-grouped cross-validation, grid
search on cached features, evaluation on test patients, and saving the model.

A research tool, not a medical device.
"""

# %%
# Data
# ----
# Synthetic X-rays, several per patient, with the folders and file names of the Kaggle collection of Kermany et al. To
# use that collection, replace ``make_chest_xrays`` by ``load_chest_xrays("chest_xray")``.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, confusion_matrix, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_validate

from skpneumo import PneumoniaClassifier, VGG19Features, load_model, save_model
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import WeightsError
from skpneumo.model_selection import PatientGroupKFold, patient_ids, patient_train_test_split

folder = tempfile.TemporaryDirectory()
xrays = make_chest_xrays(240, folder.name, prevalence=0.6, difficulty=0.3, random_state=0)
X_train, X_test, y_train, y_test = patient_train_test_split(xrays.data, xrays.target, random_state=0)
print(f"training set: {len(X_train)} images of {len(set(patient_ids(X_train)))} patients")
print(f"test set: {len(X_test)} images of {len(set(patient_ids(X_test)))} other patients")

# %%
# Model
# -----
# The first 8 layers of VGG19 with the ImageNet weights that Keras downloads. By default, the head is trained on five
# views of each image, one plain and four augmented, which makes it more robust at other hospitals. If the weights are
# not available, the example uses an untrained network: everything works in the same way, but the scores are not those
# of the trained network.

settings = {"n_jobs": 2, "verbose": 1}
weights = "imagenet"
try:
    VGG19Features(weights, **settings).fit_transform(X_train[:1])
except WeightsError:
    print("ImageNet weights are not available: using an UNTRAINED backbone.")
    weights = None
clf = PneumoniaClassifier(weights, **settings)

# %%
# Cross-validation keeps all images of a patient in the same fold, because they look alike.

scores = cross_validate(clf, X_train, y_train, cv=PatientGroupKFold(5), scoring=["roc_auc", "accuracy"])
print(f"patient-grouped 5-fold ROC AUC: {scores['test_roc_auc'].mean():.3f} +- {scores['test_roc_auc'].std():.3f}")
print(f"patient-grouped 5-fold accuracy: {scores['test_accuracy'].mean():.3f}")

# %%
# The grid search tunes the regularization strength and the pooling grid. Features are cached on disk: the network
# processes all views once per pooling grid, and each candidate and fold only fits a linear model.

candidates = {"alpha": [0.002, 0.02, 0.2], "pool_grid": [2, 4]}
search = GridSearchCV(clf, candidates, scoring="roc_auc", cv=PatientGroupKFold(5)).fit(X_train, y_train)
print(f"best of {len(search.cv_results_['params'])} candidates: {search.best_params_}")

# %%
# Test
# ----
# The test patients were not used for training or model selection. By default, classes are balanced: ``predict`` does
# not depend on the prevalence in the training data, so the threshold on the probability differs from 0.5.

proba, y_pred = search.predict_proba(X_test)[:, 1], search.predict(X_test)
print(f"threshold: {search.best_estimator_.threshold_:.2f}")
(tn, fp), (fn, tp) = confusion_matrix(y_test, y_pred)
print(f"test patients: ROC AUC {roc_auc_score(y_test, proba):.3f}, sensitivity {tp / (tp + fn):.3f}, ", end="")
print(f"specificity {tn / (tn + fp):.3f}")

# %%
# Save and load
# -------------
# The model is saved in one file. Loading it imports neither Keras nor TensorFlow; these are imported when features of
# new images are computed.

model = Path(folder.name) / "pneumonia.joblib"
save_model(search.best_estimator_, model)
loaded = load_model(model)
assert np.array_equal(loaded.predict_proba(X_test), search.predict_proba(X_test))
print(f"the loaded model gives the same predictions; file size {model.stat().st_size / 1000:.0f} kB")

# %%
# Figure
# ------

figure = plt.figure(figsize=(11, 6), layout="constrained")
grid = figure.add_gridspec(2, 4, height_ratios=[1, 1.3])
shown = [*np.flatnonzero(y_test == 0)[:2], *np.flatnonzero(y_test == 1)[:2]]
for column, i in enumerate(shown):
    ax = figure.add_subplot(grid[0, column])
    with Image.open(X_test[i, 0]) as image:
        ax.imshow(image, cmap="gray", aspect="equal")
    ax.set_title(f"{xrays.target_names[y_test[i]]}\nprobability of pneumonia {proba[i]:.2f}", fontsize=10)
    ax.axis("off")
ax = figure.add_subplot(grid[1, :2])
RocCurveDisplay.from_predictions(y_test, proba, ax=ax, name="Test patients", plot_chance_level=True)
ax = figure.add_subplot(grid[1, 2:])
ConfusionMatrixDisplay.from_predictions(
    y_test, y_pred, display_labels=xrays.target_names, ax=ax, cmap="Blues", colorbar=False
)
backbone = "VGG19 with ImageNet weights" if weights else "UNTRAINED VGG19"
figure.suptitle(f"Synthetic X-rays: {backbone}, linear probe")
figure.savefig("quickstart.png", dpi=110)
print("wrote quickstart.png")
folder.cleanup()
