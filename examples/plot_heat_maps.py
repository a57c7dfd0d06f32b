"""
Heat maps (Grad-CAM)
====================

This example computes Grad-CAM heat maps of a fitted classifier and validates them in two ways: against the known
positions of opacities in synthetic images, and against occlusion, which uses no gradients. It also shows the images
that the network sees, the errors, the operating threshold and the training curve of the model.

A research tool, not a medical device: a heat map shows which regions influenced the prediction, not where a disease is.
"""

# %%
# Fit a model
# -----------
# The synthetic images show one or two dense patches (bacterial) or a haze around both lung roots (viral). A pooling
# grid of 6 x 6 cells gives a finer localization than the default of 4 x 4. If the ImageNet weights are not available,
# the example uses an untrained network.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from scipy.stats import spearmanr

from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import WeightsError
from skpneumo.inspection import (
    ErrorGalleryDisplay,
    GradCAMDisplay,
    ImageGalleryDisplay,
    ThresholdDisplay,
    TrainingCurveDisplay,
    grad_cam,
    occlusion_map,
)
from skpneumo.model_selection import patient_train_test_split

folder = tempfile.TemporaryDirectory()
xrays = make_chest_xrays(300, folder.name, difficulty=0, random_state=0)
X_train, X_test, y_train, y_test = patient_train_test_split(xrays.data, xrays.target, test_size=0.4, random_state=0)

settings = {"n_layers": 4, "image_size": 96, "pool_grid": 6}
weights = "imagenet"
try:
    VGG19Features(weights, **settings).fit_transform(X_train[:1])
except WeightsError:
    print("ImageNet weights are not available: using an UNTRAINED backbone.")
    weights = None
clf = PneumoniaClassifier(weights, **settings).fit(X_train, y_train)
print(f"accuracy on test patients: {clf.score(X_test, y_test):.2f}")

# %%
# Images
# ------
# Images as the network sees them: each row shows an image without augmentation and four augmented views of it, which
# are also used for training. ``target_names`` replaces the labels 0 and 1 by words.

names = xrays.target_names
_ = ImageGalleryDisplay.from_estimator(clf, X_train[:3], y_train[:3], n_views=clf.n_views, target_names=names)

# %%
# Heat maps
# ---------
# The heat maps show how much each region contributes to the log-odds of pneumonia. The boxes mark the opacities.

true_positives = X_test[(y_test == 1) & (clf.predict(X_test) == 1)].ravel()
boxes = dict(zip(xrays.data.ravel(), xrays.opacities, strict=True))
display = GradCAMDisplay.from_estimator(clf, true_positives[:4], y=np.ones(4, int), target_names=names)
for path, row in zip(true_positives, display.axes_, strict=False):
    for left, top, right, bottom in boxes[path]:
        for ax in row:
            box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="cyan", linestyle=":")
            ax.add_patch(box)

# %%
# Localization is measured by the proportion of peaks within half a cell of a box. For comparison, the same proportion
# is computed with each heat map on all images.

heat_maps = grad_cam(clf, true_positives)


def peak_is_near_box(heat_map, path):
    row, column = np.add(np.unravel_index(heat_map.argmax(), heat_map.shape), 0.5)
    tolerance = min(heat_map.shape) / clf.pool_grid / 2
    return any(
        left - tolerance <= column <= right + tolerance and top - tolerance <= row <= bottom + tolerance
        for left, top, right, bottom in boxes[path]
    )


hits = np.array([[peak_is_near_box(heat_map, path) for heat_map in heat_maps] for path in true_positives])
print(f"{len(true_positives)} true positives, peak near an opacity: {np.diag(hits).mean():.0%}")
print(f"with each heat map on all images: {hits.mean():.0%}")

# %%
# Occlusion
# ---------
# Occlusion replaces each cell by the same cell of eight other images and measures the decrease of the log-odds.
# Spearman's rank correlation compares the two methods over the cells of an image.

images = true_positives[:12]
gradient_maps = grad_cam(clf, images, coordinates="grid")
occlusion_maps = occlusion_map(clf, images, background=X_train[:8], coordinates="grid")
correlations = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(gradient_maps, occlusion_maps, strict=True)]
print(f"mean rank correlation over {len(images)} images: {np.mean(correlations):.2f}")

figure, axes = plt.subplots(2, 4, figsize=(9, 4.6), layout="constrained")
for column, (*maps, correlation) in enumerate(zip(gradient_maps, occlusion_maps, correlations, strict=False)):
    if column == axes.shape[1]:
        break
    for ax, values, name in zip(axes[:, column], maps, ("Grad-CAM", "Occlusion"), strict=True):
        limit = np.abs(values).max()
        ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{name}, rank correlation {correlation:.2f}" if ax is axes[0, column] else name, fontsize=9)

# %%
# Errors
# ------
# The most confident errors, with their heat maps.

_ = ErrorGalleryDisplay.from_estimator(clf, X_test, y_test, n_errors=3, plot_heat_maps=True, target_names=names)

# %%
# Threshold
# ---------
# Diagnostic metrics on the test patients by threshold. The bands are 95 % confidence intervals clustered by patient.

_ = ThresholdDisplay.from_estimator(clf, X_test, y_test, target_names=names)

# %%
# Training curve
# --------------
# A linear probe is solved directly and has no epochs. A dense layer is trained in epochs; early stopping evaluates each
# epoch on held-out patients, including copies of their images changed as at another site. The augmented views of the
# training images, which are used by default, make the model robust to such changes.

dense = PneumoniaClassifier(
    weights, **settings, hidden_layer_sizes=(32,), early_stopping=True, max_iter=60, random_state=0
)
_ = TrainingCurveDisplay.from_estimator(dense.fit(X_train, y_train))

# %%
folder.cleanup()
