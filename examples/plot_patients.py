"""
==================================
Why patients must stay together
==================================

Collections of X-rays often hold several films of one patient. If some of them are used for training and others for
testing, a model can do well by recognising the patient instead of the disease. This example makes that visible: it
scores the same model with plain folds and with folds that keep a patient on one side, first with the true labels and
then with labels that were drawn by lot.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere in seconds.
The numbers show how the leak works. They say nothing about real films.
"""

# %%
# Several films of each patient
# -----------------------------
# We draw 200 films, four of each patient on average. All films of a patient share an anatomy; framing, exposure and
# grain change from film to film. The file names follow those of the Kaggle collection, and the patient is read from
# them.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.model_selection import StratifiedKFold, cross_val_score

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import PatientGroupKFold

folder = tempfile.TemporaryDirectory()
xrays = make_chest_xrays(200, folder.name, images_per_patient=4, image_size=128, random_state=0)
X, y, patients = xrays.data, xrays.target, xrays.groups
names, patient_of, counts = np.unique(patients, return_inverse=True, return_counts=True)
print(f"{len(X)} films of {len(names)} patients, {counts.min()} to {counts.max()} of each")

# sphinx_gallery_thumbnail_number = 2
healthy = [name for name in names[counts >= 4] if "IM" in name][:2]
fig, axes = plt.subplots(2, 4, figsize=(8, 3.4), layout="constrained")
for row, name in zip(axes, healthy, strict=True):
    for ax, path in zip(row, X[patients == name, 0], strict=False):
        ax.imshow(Image.open(path), cmap="gray")
        ax.set_axis_off()
    row[0].set_title(name, loc="left", fontsize=10)
fig.suptitle("Films of two healthy patients")
plt.show()

# %%
# Two ways to make folds
# ----------------------
# ``StratifiedKFold`` deals out films. ``PatientGroupKFold`` deals out patients: it reads them from the paths, so that
# nothing else has to be passed. The features of the 200 films are computed by the first fit and stored. All further
# fits look them up, in other processes too.

store = tempfile.TemporaryDirectory()
clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, pool_grid=2, memory=store.name)
clf.fit(X, y)


def auc(labels, folds, seed):
    """Score one division into five folds."""
    cv = folds(5, shuffle=True, random_state=seed)
    return cross_val_score(clf, X, labels, cv=cv, scoring="roc_auc", n_jobs=2).mean()


# %%
# Labels by lot
# -------------
# Next to the true labels we take labels drawn by lot, one for each patient. No film tells anything about them, so an
# honest score is 0.5 on average. We repeat everything with ten divisions into folds, and with ten lots.

kinds = {
    "films dealt out\n(StratifiedKFold)": StratifiedKFold,
    "patients dealt out\n(PatientGroupKFold)": PatientGroupKFold,
}
scores = {"true labels": [], "labels by lot": []}
for seed in range(10):
    lots = np.random.RandomState(seed).permutation(np.arange(len(names)) % 2)
    for title, labels in (("true labels", y), ("labels by lot", lots[patient_of])):
        scores[title].append([auc(labels, folds, seed) for folds in kinds.values()])

fig, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True, layout="constrained")
for ax, (title, pairs) in zip(axes, scores.items(), strict=True):
    ax.plot(np.transpose(pairs), color="0.8", zorder=0)
    for column, values in enumerate(np.transpose(pairs)):
        ax.scatter(np.full(len(values), column), values, s=20)
        ax.hlines(values.mean(), column - 0.15, column + 0.15, color="black")
        ax.annotate(f"{values.mean():.2f}", (column + 0.18, values.mean()), va="center")
    ax.axhline(0.5, color="0.5", linestyle=":", zorder=0)
    ax.set(title=title, xlim=(-0.4, 1.5), xticks=range(len(kinds)), xticklabels=kinds)
axes[0].set_ylabel("cross-validated ROC AUC")
plt.show()

# %%
# Each gray line is one repetition, each black bar a mean. On the right there is nothing to learn. Yet with plain folds
# every AUC lies above 0.5: the model knows patients from the films that it was trained on. With folds of patients the
# AUCs scatter about 0.5. On the left, plain folds come out higher as well, and nothing in their score alone tells that
# it is flattered.
#
# Meta-estimators that split by themselves leak in the same way. Pass them the splitter too, as in
# ``CalibratedClassifierCV(clf, cv=PatientGroupKFold(5))``.

folder.cleanup()
store.cleanup()
