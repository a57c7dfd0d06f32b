"""
=============================================
A new hospital: without labels, then with few
=============================================

A model comes to a hospital that it was not trained at. This example shows what can be done there, in the order in which
to try it: adapt the model to films without labels, then calibrate it with the labels of a few. It shows what each of
these gains, and how much that depends on the films that happen to be taken.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere. It shows
how to do it. What to expect of real films is in the user guide.
"""

# %%
# Two hospitals
# -------------
# The second one has other patients. Its films are paler and have less contrast, are less sharp, and are cut closer.

import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter, ImageOps
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier, GroupShuffleSplit

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import patient_ids, patient_train_test_split

folder = tempfile.TemporaryDirectory()
X, y = make_chest_xrays(520, folder.name, image_size=128, random_state=0, return_X_y=True)
X_first, X_other, y_first, y_second = patient_train_test_split(X, y, test_size=0.6, random_state=0)


def of_the_second(film):
    """Make a film as the second hospital does."""
    film = film.point(lambda gray: 40 + 0.7 * gray).filter(ImageFilter.BoxBlur(1))
    return ImageOps.crop(film, film.width // 40)


os.mkdir(os.path.join(folder.name, "second"))
X_second = X_other.copy()
for row in X_second:
    film = Image.open(row[0]).convert("L")
    row[0] = os.path.join(folder.name, "second", os.path.basename(row[0]))
    of_the_second(film).save(row[0], quality=95)
print(f"{len(X_first)} films of the first hospital, {len(X_second)} of the second")

# sphinx_gallery_thumbnail_number = 2
fig, axes = plt.subplots(1, 6, figsize=(9, 1.9), layout="constrained")
for place, ax in enumerate(axes):
    films, name = ((X_other, "first"), (X_second, "second"))[place % 2]
    ax.imshow(Image.open(films[place // 2, 0]), cmap="gray", vmin=0, vmax=255)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# As it is
# --------
# At the second hospital the model still ranks most of the ill above the healthy, as the AUC says. But most of the
# healthy have moved to the wrong side of its threshold.

store = tempfile.TemporaryDirectory()
clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, memory=store.name).fit(X_first, y_first)

for name, films in {"first": X_other, "second": X_second}.items():
    called = clf.predict(films)
    accuracy, auc = balanced_accuracy_score(y_second, called), roc_auc_score(y_second, clf.decision_function(films))
    print(f"{name:>6} hospital: balanced accuracy {accuracy:.2f}, AUC {auc:.2f}, {called.mean():.0%} called ill")
print(f"{y_second.mean():.0%} are ill")

# %%
# Films without labels
# --------------------
# ``adapt`` returns a copy of the model that standardises features by films of the second hospital. It takes no labels.
# The patients there are drawn into two halves, ten times: one gives the local films, the other is tested.

n_local = [20, 50, 100]
splits = GroupShuffleSplit(10, test_size=0.5, random_state=0)
draws = list(splits.split(X_second, y_second, patient_ids(X_second)))


def accuracy_of(model, test):
    """Score a model on the patients that gave it nothing."""
    return balanced_accuracy_score(y_second[test], model.predict(X_second[test]))


unlabelled = [
    [accuracy_of(clf, test), *(accuracy_of(clf.adapt(X_second[local[:n]]), test) for n in n_local)]
    for local, test in draws
]

# %%
# Films with labels
# -----------------
# A few labels do more. ``CalibratedClassifierCV`` on the frozen model fits two numbers, a slope and an intercept. The
# calibrated probability is then compared with the share of the ill among the labelled films, so that both classes
# count alike. Twenty films hold enough for that; a threshold chosen freely from as few depends on chance.


def calibrated(model, films, labels):
    """Fit slope and intercept on local films, and put the threshold at their share of the ill."""
    sigmoid = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", cv=2).fit(films, labels)
    return FixedThresholdClassifier(FrozenEstimator(sigmoid), threshold=labels.mean()).fit(films, labels)


labelled = {"as it is": [], "adapted before": []}
for (local, test), scores in zip(draws, unlabelled, strict=True):
    for name, model in {"as it is": clf, "adapted before": clf.adapt(X_second[local[: n_local[-1]]])}.items():
        few = [accuracy_of(calibrated(model, X_second[local[:n]], y_second[local[:n]]), test) for n in n_local]
        labelled[name].append([scores[0 if name == "as it is" else -1], *few])

places = np.arange(4)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
left.plot(np.transpose(unlabelled), color="C1", alpha=0.25, linewidth=1)
left.plot(np.mean(unlabelled, axis=0), "o-", color="C1", label="adapted")
for (name, scores), color in zip(labelled.items(), ("C0", "C1"), strict=True):
    right.plot(np.transpose(scores), color=color, alpha=0.25, linewidth=1)
    right.plot(np.mean(scores, axis=0), "o-", color=color, label=name)
right.legend(loc="lower right")
for ax, title in ((left, "films without labels"), (right, "films with labels")):
    ax.axhline(accuracy_of(clf, slice(None)), color="0.5", linestyle=":", zorder=0)
    ax.set(title=title, xlabel="local films", xticks=places, xticklabels=[0, *n_local])
left.set_ylabel("balanced accuracy")
plt.show()

# %%
# Each thin line is one draw, each thick line their mean; the dotted line is the model as it is.
#
# How many are ill there
# ----------------------
# Films of the ill and of the healthy differ, and so do the hospitals. Without labels, one cannot be told from the
# other. By default ``adapt`` takes it that as many are ill as in training. Where that is not so, say it.

local, test = draws[0]
healthy, ill = (local[y_second[local] == label] for label in (0, 1))
few_ill = X_second[np.concatenate([healthy[:45], ill[:5]])]
print(f"share of the ill in training: {y_first.mean():.2f}")
print(f"as it is:                            {accuracy_of(clf, test):.2f}")
print(f"adapted on 50 films, 5 ill, unsaid:  {accuracy_of(clf.adapt(few_ill), test):.2f}")
print(f"adapted on 50 films, 5 ill, stated:  {accuracy_of(clf.adapt(few_ill, prevalence=0.1), test):.2f}")

store.cleanup()
folder.cleanup()
