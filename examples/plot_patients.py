"""
================================
Patient-grouped cross-validation
================================

X-ray data sets often contain several images of a patient. If some of them are used for training and others for testing,
a model can score well by recognizing the patient instead of the disease. This example demonstrates this data leakage:
it evaluates the same model with and without patient-grouped folds, on the true labels and on random labels.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere in seconds.
The scores do not transfer to real X-rays.
"""

# %%
# Several images per patient
# --------------------------
# The data set has 200 images, four per patient on average. All images of a patient show the same anatomy, with
# different framing, exposure and grain. The file names follow the Kaggle collection and contain the patient.

import tempfile
import warnings

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.model_selection import StratifiedKFold, cross_val_score

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import LeakageWarning
from skpneumo.model_selection import PatientGroupKFold

folder = tempfile.TemporaryDirectory()
xrays = make_chest_xrays(200, folder.name, images_per_patient=4, image_size=128, random_state=0)
X, y, patients = xrays.data, xrays.target, xrays.groups
names, patient_of, counts = np.unique(patients, return_inverse=True, return_counts=True)
print(f"{len(X)} images of {len(names)} patients, {counts.min()} to {counts.max()} per patient")

# sphinx_gallery_thumbnail_number = 2
healthy = [name for name in names[counts >= 4] if "IM" in name][:2]
fig, axes = plt.subplots(2, 4, figsize=(8, 3.4), layout="constrained")
for row, name in zip(axes, healthy, strict=True):
    for ax, path in zip(row, X[patients == name, 0], strict=False):
        ax.imshow(Image.open(path), cmap="gray")
        ax.set_axis_off()
    row[0].set_title(name, loc="left", fontsize=10)
fig.suptitle("Images of two healthy patients")
plt.show()

# %%
# Two cross-validation splitters
# ------------------------------
# ``StratifiedKFold`` assigns images to folds. ``PatientGroupKFold`` assigns patients, which it reads from the file
# names. The first fit computes and caches the features of all images; all further fits read them, also in other
# processes. One view per image is enough to show the leakage. A ``LeakageWarning`` about the first splitter is ignored
# here, since the leakage is intended.

store = tempfile.TemporaryDirectory()
clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, pool_grid=2, n_views=1, memory=store.name)
clf.fit(X, y)


def auc(labels, splitter, seed):
    """Compute the mean AUC of five folds."""
    cv = splitter(5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)
        return cross_val_score(clf, X, labels, cv=cv, scoring="roc_auc", n_jobs=2).mean()


# %%
# Random labels
# -------------
# Random labels, one per patient, are independent of the images, so an unbiased AUC is 0.5 on average. Everything is
# repeated ten times with different folds and different random labels.

splitters = {
    "Split by image\n(StratifiedKFold)": StratifiedKFold,
    "Split by patient\n(PatientGroupKFold)": PatientGroupKFold,
}
scores = {"True labels": [], "Random labels": []}
for seed in range(10):
    random_labels = np.random.RandomState(seed).permutation(np.arange(len(names)) % 2)
    for title, labels in (("True labels", y), ("Random labels", random_labels[patient_of])):
        scores[title].append([auc(labels, splitter, seed) for splitter in splitters.values()])

fig, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True, layout="constrained")
for ax, (title, pairs) in zip(axes, scores.items(), strict=True):
    ax.plot(np.transpose(pairs), color="0.8", zorder=0)
    for column, values in enumerate(np.transpose(pairs)):
        ax.scatter(np.full(len(values), column), values, s=20)
        ax.hlines(values.mean(), column - 0.15, column + 0.15, color="black")
        ax.annotate(f"{values.mean():.2f}", (column + 0.18, values.mean()), va="center")
    ax.axhline(0.5, color="0.5", linestyle=":", zorder=0)
    ax.set(title=title, xlim=(-0.4, 1.5), xticks=range(len(splitters)), xticklabels=splitters)
axes[0].set_ylabel("Cross-validated ROC AUC")
plt.show()

# %%
# Gray lines are repetitions, black bars their means. With random labels, there is nothing to learn. Yet without
# grouping, every AUC is above 0.5, because the model recognizes patients of the training set. With patient-grouped
# folds, the AUC varies around 0.5. With true labels, the scores without grouping are optimistically biased as well,
# which cannot be seen from these scores alone.
#
# Meta-estimators with internal cross-validation have the same problem. Pass them the splitter too, as in
# ``CalibratedClassifierCV(clf, cv=PatientGroupKFold(5))``.

folder.cleanup()
store.cleanup()
