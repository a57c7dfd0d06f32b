"""
What a model looks at
=====================

Heat maps of a fitted classifier, checked in two ways: against opacities whose place is known, since a program drew
them, and against occlusion, which shares nothing with the slopes that heat maps are made of. Then the figures that a
model should be looked at by before anybody trusts it: its errors, its threshold, its training.

A research tool, not a medical device: a heat map says what moved this model, not where a disease is.
"""

# %%
# The model
# ---------
# Synthetic radiographs with one or two dense patches ("bacteria") or a veil around both lung roots ("virus"). A grid of
# 6 x 6 cells tells places better apart than the default of 4 x 4. Where ImageNet weights cannot be had, an untrained
# network takes their place.

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
    ThresholdDisplay,
    TrainingCurveDisplay,
    grad_cam,
    occlusion_map,
)
from skpneumo.model_selection import patient_train_test_split

folder = tempfile.TemporaryDirectory()
films = make_chest_xrays(300, folder.name, difficulty=0, random_state=0)
X_train, X_test, y_train, y_test = patient_train_test_split(films.data, films.target, test_size=0.4, random_state=0)

settings = {"n_layers": 4, "image_size": 96, "pool_grid": 6}
weights = "imagenet"
try:
    VGG19Features(weights, **settings).fit_transform(X_train[:1])
except WeightsError:
    print("The ImageNet weights cannot be had here: going on with an UNTRAINED backbone.")
    weights = None
clf = PneumoniaClassifier(weights, **settings).fit(X_train, y_train)
print(f"accuracy on other patients: {clf.score(X_test, y_test):.2f}")

# %%
# Heat maps
# ---------
# What each place adds to the log odds. Boxes are drawn around what was planted.

called = X_test[(y_test == 1) & (clf.predict(X_test) == 1)].ravel()
boxes = dict(zip(films.data.ravel(), films.opacities, strict=True))
display = GradCAMDisplay.from_estimator(clf, called[:4], y=np.ones(4, int))
for path, row in zip(called, display.axes_, strict=False):
    for left, top, right, bottom in boxes[path]:
        for ax in row:
            box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="cyan", linestyle=":")
            ax.add_patch(box)

# %%
# How many peaks lie inside a box, or beside it by no more than half a cell? And how many would, if each film had the
# heat map of another one?

heats = grad_cam(clf, called)


def is_near(heat, path):
    row, column = np.add(np.unravel_index(heat.argmax(), heat.shape), 0.5)
    reach = min(heat.shape) / clf.pool_grid / 2
    return any(
        left - reach <= column <= right + reach and top - reach <= row <= bottom + reach
        for left, top, right, bottom in boxes[path]
    )


hits = np.array([[is_near(heat, path) for heat in heats] for path in called])
print(f"{len(called)} pneumonias were called; peaks in or beside an opacity: {np.diag(hits).mean():.0%}")
print(f"by the heat maps of other films: {hits.mean():.0%}")

# %%
# Occlusion
# ---------
# Each cell is covered by the same cell of eight other films, and the log odds fall. Grad-CAM and occlusion rank the
# cells of a film alike, or they do not: Spearman's rank correlation says how much.

some = called[:12]
slopes = grad_cam(clf, some, coordinates="grid")
falls = occlusion_map(clf, some, background=X_train[:8], coordinates="grid")
ranks = [spearmanr(slope.ravel(), fall.ravel())[0] for slope, fall in zip(slopes, falls, strict=True)]
print(f"rank correlation over {len(some)} films: {np.mean(ranks):.2f}")

figure, axes = plt.subplots(2, 4, figsize=(9, 4.6), layout="constrained")
for column, (slope, fall, rank) in enumerate(zip(slopes, falls, ranks, strict=False)):
    if column == axes.shape[1]:
        break
    for ax, values, name in zip(axes[:, column], (slope, fall), ("Grad-CAM", "occlusion"), strict=True):
        limit = np.abs(values).max()
        ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"{name}, rank correlation {rank:.2f}" if ax is axes[0, column] else name, fontsize=9)

# %%
# Errors
# ------
# Those that the model is most sure of, with what moved it.

_ = ErrorGalleryDisplay.from_estimator(clf, X_test, y_test, n_errors=3, plot_heat_maps=True)

# %%
# The threshold
# -------------
# What each threshold would be worth on these patients; bands are 95 % intervals that allow for several films of one.

_ = ThresholdDisplay.from_estimator(clf, X_test, y_test)

# %%
# The training
# ------------
# A linear probe is solved and has no epochs. A dense layer has, and early stopping judges it by patients held out, and
# by copies of their films changed as another site might. Views of the training films teach it to bear that.

dense = PneumoniaClassifier(
    weights, **settings, n_views=4, hidden_layer_sizes=(32,), early_stopping=True, max_iter=60, random_state=0
)
_ = TrainingCurveDisplay.from_estimator(dense.fit(X_train, y_train))

# %%
folder.cleanup()
