"""
==========================================
Domain shift: augmentation and fine-tuning
==========================================

A model can be perfect on held-out patients of its own hospital and fail at another one, where X-rays differ in
exposure, framing and processing. This example changes the test images as another hospital might, and compares three
ways to train: on the original images, with augmented views (the default), and with augmented views and fine-tuning.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere. The user
guide has results on real X-rays.
"""

# %%
# Augmented views
# ---------------
# With ``n_views=5``, the default, each training image is used five times: unchanged, and in four augmented views with
# random rotation, crop, exposure, blur and noise. The unchanged image gets only 3 % of the weight (``plain_weight``). A
# view is determined by the content of the file and the number of the view. The views of an image are therefore the same
# in every fold and process, and their features are cached like all others.

import os
import tempfile
import warnings

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import DomainShiftWarning
from skpneumo.inspection import image_views
from skpneumo.model_selection import patient_train_test_split

folder = tempfile.TemporaryDirectory()
X, y = make_chest_xrays(160, folder.name, image_size=128, random_state=0, return_X_y=True)
X_train, X_test, y_train, y_test = patient_train_test_split(X, y, test_size=0.4, random_state=0)
print(f"{len(X_train)} training images, {len(X_test)} test images of other patients")

fig, axes = plt.subplots(2, 5, figsize=(9, 3.9), layout="constrained")
for row, views in zip(axes, image_views(X_train[:2], n_views=5, image_size=128), strict=True):
    for number, (ax, view) in enumerate(zip(row, views, strict=True)):
        ax.imshow(view, cmap="gray", vmin=0, vmax=255)
        ax.set_title("original" if number == 0 else f"view {number}", fontsize=10)
        ax.set_axis_off()
plt.show()

# %%
# Simulated sites
# ---------------
# The test images are changed in three ways that do not occur in training: bright images with low contrast, dark images
# with high contrast, and blurred images with a black border.


def bright(image):
    return image.point(lambda gray: 90 + 0.55 * gray)


def dark(image):
    return image.point(lambda gray: 255 * (gray / 255) ** 2.2)


def border(image):
    small = image.filter(ImageFilter.BoxBlur(1)).resize([3 * side // 4 for side in image.size])
    framed = Image.new("L", image.size)
    framed.paste(small, (image.width // 8, image.height // 8))
    return framed


sites = {"original": lambda image: image, "bright": bright, "dark": dark, "border": border}
test_sets = {}
for site, change in sites.items():
    test_sets[site] = [os.path.join(folder.name, f"{site}_{i}.png") for i in range(len(X_test))]
    for (path,), changed in zip(X_test, test_sets[site], strict=True):
        change(Image.open(path).convert("L")).save(changed)

fig, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for ax, (site, paths) in zip(axes, test_sets.items(), strict=True):
    ax.imshow(Image.open(paths[0]), cmap="gray", vmin=0, vmax=255)
    ax.set_title(site, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# Train and compare
# -----------------
# The first model uses neither augmented views nor normalized features. The second has the default parameters of both.
# The third starts from the second and fine-tunes the last two layers for three epochs; their input feature maps are
# computed once per view and cached on disk. With more epochs, use ``early_stopping=True``, which evaluates each epoch
# on original and changed images of held-out patients and keeps the best weights.
#
# All models warn with ``DomainShiftWarning`` that the changed images differ from the training images as a whole. The
# example ignores these warnings.

warnings.simplefilter("ignore", DomainShiftWarning)
store = tempfile.TemporaryDirectory()
baseline = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, memory=store.name, random_state=0)
models = {
    "one view, norm=None": {"n_views": 1, "norm": None},
    "default": {},
    "default, fine-tuned": {"n_trainable_layers": 2},
}
print(f"{'balanced accuracy (AUC)':<24}" + "".join(f"{site:>16}" for site in test_sets))
accuracies = {}
for name, parameters in models.items():
    clf = PneumoniaClassifier(**{**baseline.get_params(), **parameters}).fit(X_train, y_train)
    scores = {site: clf.decision_function(paths) for site, paths in test_sets.items()}
    accuracies[name] = [balanced_accuracy_score(y_test, score > 0) for score in scores.values()]
    aucs = [roc_auc_score(y_test, score) for score in scores.values()]
    cells = [f"{accuracy:.2f} ({auc:.2f})" for accuracy, auc in zip(accuracies[name], aucs, strict=True)]
    print(f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells))

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for offset, (name, values) in zip((-0.25, 0, 0.25), accuracies.items(), strict=True):
    ax.bar(np.arange(len(test_sets)) + offset, values, width=0.23, label=name)
ax.axhline(0.5, color="gray", linewidth=1, linestyle="--")
ax.set_xticks(np.arange(len(test_sets)), test_sets)
ax.set_xlabel("Test images")
ax.set_ylim(0.4, 1)
ax.set_ylabel("Balanced accuracy")
ax.legend(fontsize=9, ncols=3, loc="upper right")
plt.show()

# sphinx_gallery_thumbnail_number = 1
store.cleanup()
folder.cleanup()
