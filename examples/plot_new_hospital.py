"""
================================================
Site adaptation: using a model at a new hospital
================================================

This example applies a model to a hospital at which it was not trained, and adapts it to unlabeled images of known
prevalence or to a few labeled images. It shows the gain and its variation between samples of local images.

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
import warnings

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter, ImageOps
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

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
# At the second hospital, the model warns that the images differ from the training images as a whole. It still ranks
# most positive cases above the negative ones, but most negative cases are now above the threshold. Augmented views and
# normalized features, the defaults, would hide this effect; they are switched off.

store = tempfile.TemporaryDirectory()
clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, n_views=1, norm=None, memory=store.name)
clf.fit(X_first, y_first)

for name, images in {"first": X_unchanged, "second": X_second}.items():
    y_pred = clf.predict(images)
    accuracy, auc = balanced_accuracy_score(y_second, y_pred), roc_auc_score(y_second, clf.decision_function(images))
    print(
        f"{name:>6} hospital: balanced accuracy {accuracy:.2f}, AUC {auc:.2f}, {y_pred.mean():.0%} predicted positive"
    )
prevalence = y_second.mean()
print(f"prevalence at both: {prevalence:.0%}")

# %%
# Unlabeled images
# ----------------
# ``adapt`` returns a copy of the model for the second hospital. It needs no labels if the prevalence is known. The
# patients are split ten times into halves: one half provides the local images, the other is the test set.

n_local = [20, 50, 100]
splitter = GroupShuffleSplit(10, test_size=0.5, random_state=0)
splits = list(splitter.split(X_second, y_second, patient_ids(X_second)))


def balanced_accuracy(model, test):
    """Compute the balanced accuracy on test patients."""
    return balanced_accuracy_score(y_second[test], model.predict(X_second[test]))


unlabeled = [
    [
        balanced_accuracy(clf, test),
        *(balanced_accuracy(clf.adapt(X_second[local[:n]], prevalence=prevalence), test) for n in n_local),
    ]
    for local, test in splits
]

# %%
# Labeled images
# --------------
# With labels, ``adapt`` fits a slope and a shift of the logits, shrunk towards those of the model. It does not need the
# prevalence.

labeled = [
    [
        balanced_accuracy(clf, test),
        *(balanced_accuracy(clf.adapt(X_second[local[:n]], y_second[local[:n]]), test) for n in n_local),
    ]
    for local, test in splits
]

positions = np.arange(4)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, title, scores, color in (
    (left, "Unlabeled images, known prevalence", unlabeled, "C0"),
    (right, "Labeled images", labeled, "C1"),
):
    ax.plot(np.transpose(scores), color=color, alpha=0.25, linewidth=1)
    ax.plot(np.mean(scores, axis=0), "o-", color=color)
    ax.axhline(balanced_accuracy(clf, slice(None)), color="0.5", linestyle=":", zorder=0)
    ax.set(title=title, xlabel="Number of local images", xticks=positions, xticklabels=[0, *n_local])
left.set_ylabel("Balanced accuracy")
plt.show()

# %%
# Thin lines are single splits, thick lines their means. The dotted line is the original model.
#
# Unknown prevalence
# ------------------
# Without labels and prevalence, ``adapt`` estimates the prevalence. If it cannot distinguish a different prevalence
# from a different image appearance, it warns and returns the model unchanged.

local, test = splits[0]
negative, positive = (local[y_second[local] == label] for label in (0, 1))
low_prevalence = X_second[np.concatenate([negative[:45], positive[:5]])]
with warnings.catch_warnings(record=True) as messages:
    warnings.simplefilter("always")
    unknown = clf.adapt(low_prevalence)
print(*(message.message for message in messages), sep="\n")
stated = clf.adapt(low_prevalence, prevalence=0.1)
print(f"balanced accuracy without adaptation: {balanced_accuracy(clf, test):.2f}")
print(f"adapted to 5 positive and 45 negative images: {balanced_accuracy(unknown, test):.2f}")
print(f"adapted to the same images with prevalence=0.1: {balanced_accuracy(stated, test):.2f}")

store.cleanup()
folder.cleanup()
