"""
================================================
Site adaptation: using a model at a new hospital
================================================

This example applies a model to a hospital at which it was not trained, in two steps: adapt the model to unlabeled
images of the new site, then calibrate it with a few labeled images. It shows the gain of each step and its variation
between samples of local images.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere. The user
guide has results on real X-rays.
"""

# %%
# Two hospitals
# -------------
# The images of the second hospital show other patients. They are brighter, have lower contrast, are blurred and are
# cropped.

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
X_first, X_unchanged, y_first, y_second = patient_train_test_split(X, y, test_size=0.6, random_state=0)


def simulate_second_hospital(image):
    """Change brightness, contrast, sharpness and framing."""
    image = image.point(lambda gray: 40 + 0.7 * gray).filter(ImageFilter.BoxBlur(1))
    return ImageOps.crop(image, image.width // 40)


os.mkdir(os.path.join(folder.name, "second"))
X_second = X_unchanged.copy()
for row in X_second:
    image = Image.open(row[0]).convert("L")
    row[0] = os.path.join(folder.name, "second", os.path.basename(row[0]))
    simulate_second_hospital(image).save(row[0], quality=95)
print(f"{len(X_first)} images of the first hospital, {len(X_second)} of the second")

# sphinx_gallery_thumbnail_number = 2
fig, axes = plt.subplots(1, 6, figsize=(9, 1.9), layout="constrained")
for i, ax in enumerate(axes):
    images, name = ((X_unchanged, "first"), (X_second, "second"))[i % 2]
    ax.imshow(Image.open(images[i // 2, 0]), cmap="gray", vmin=0, vmax=255)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# Without adaptation
# ------------------
# At the second hospital, the AUC is still high: the model ranks most positive cases above the negative ones. But most
# negative cases are now above the threshold.

store = tempfile.TemporaryDirectory()
clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, memory=store.name).fit(X_first, y_first)

for name, images in {"first": X_unchanged, "second": X_second}.items():
    y_pred = clf.predict(images)
    accuracy, auc = balanced_accuracy_score(y_second, y_pred), roc_auc_score(y_second, clf.decision_function(images))
    print(
        f"{name:>6} hospital: balanced accuracy {accuracy:.2f}, AUC {auc:.2f}, {y_pred.mean():.0%} predicted positive"
    )
print(f"prevalence at both: {y_second.mean():.0%}")

# %%
# Unlabeled images
# ----------------
# ``adapt`` returns a copy of the model that standardizes the features with images of the second hospital. It needs no
# labels. The patients are split ten times into halves: one half provides the local images, the other is the test set.

n_local = [20, 50, 100]
splitter = GroupShuffleSplit(10, test_size=0.5, random_state=0)
splits = list(splitter.split(X_second, y_second, patient_ids(X_second)))


def balanced_accuracy(model, test):
    """Compute the balanced accuracy on test patients."""
    return balanced_accuracy_score(y_second[test], model.predict(X_second[test]))


unlabeled = [
    [balanced_accuracy(clf, test), *(balanced_accuracy(clf.adapt(X_second[local[:n]]), test) for n in n_local)]
    for local, test in splits
]

# %%
# Labeled images
# --------------
# A few labels improve the model further. ``CalibratedClassifierCV`` on the frozen model fits a slope and an intercept.
# The threshold is the prevalence of the labeled images, so that both classes have equal weight. Twenty images are
# enough for this; a threshold tuned on so few images would vary strongly between samples.


def calibrate(model, images, labels):
    """Calibrate a model on local images, with their prevalence as threshold."""
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", cv=2).fit(images, labels)
    return FixedThresholdClassifier(FrozenEstimator(calibrated), threshold=labels.mean()).fit(images, labels)


labeled = {"not adapted": [], "adapted": []}
for (local, test), scores in zip(splits, unlabeled, strict=True):
    for name, model in {"not adapted": clf, "adapted": clf.adapt(X_second[local[: n_local[-1]]])}.items():
        few = [balanced_accuracy(calibrate(model, X_second[local[:n]], y_second[local[:n]]), test) for n in n_local]
        labeled[name].append([scores[0 if name == "not adapted" else -1], *few])

positions = np.arange(4)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
left.plot(np.transpose(unlabeled), color="C1", alpha=0.25, linewidth=1)
left.plot(np.mean(unlabeled, axis=0), "o-", color="C1")
for (name, scores), color in zip(labeled.items(), ("C0", "C1"), strict=True):
    right.plot(np.transpose(scores), color=color, alpha=0.25, linewidth=1)
    right.plot(np.mean(scores, axis=0), "o-", color=color, label=f"{name}, calibrated")
right.legend(loc="lower right")
for ax, title in ((left, "Adaptation to unlabeled images"), (right, "Calibration on labeled images")):
    ax.axhline(balanced_accuracy(clf, slice(None)), color="0.5", linestyle=":", zorder=0)
    ax.set(title=title, xlabel="Number of local images", xticks=positions, xticklabels=[0, *n_local])
left.set_ylabel("Balanced accuracy")
plt.show()

# %%
# Thin lines are single splits, thick lines their means. The dotted line is the original model.
#
# Prevalence
# ----------
# Without labels, ``adapt`` cannot distinguish a different prevalence from a different image appearance. By default, it
# assumes the prevalence of the training set. If the local prevalence differs, pass it.

local, test = splits[0]
negative, positive = (local[y_second[local] == label] for label in (0, 1))
low_prevalence = X_second[np.concatenate([negative[:45], positive[:5]])]
print(f"prevalence in training: {y_first.mean():.2f}")
assumed, stated = clf.adapt(low_prevalence), clf.adapt(low_prevalence, prevalence=0.1)
print(f"balanced accuracy without adaptation: {balanced_accuracy(clf, test):.2f}")
print(f"adapted to 5 positive and 45 negative images: {balanced_accuracy(assumed, test):.2f}")
print(f"adapted to the same images with prevalence=0.1: {balanced_accuracy(stated, test):.2f}")

store.cleanup()
folder.cleanup()
