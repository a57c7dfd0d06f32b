"""
=============================================
A new hospital: without labels, then with few
=============================================

A model comes to a hospital that it was not trained at. This example shows what can be done there, in the order in which
to try it: adapt the model to films without labels, then calibrate it with the labels of a few films. It shows how much
each of these gains, and how much that depends on which films happen to be taken.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere. It shows
how to do it. What to expect of real films is in the user guide.
"""

# %%
# Two hospitals
# -------------
# The second one is made of films like those of the first, of other patients. All are exposed in another way, veiled,
# blurred and framed in black.

import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import FixedThresholdClassifier, GroupShuffleSplit

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import patient_ids, patient_train_test_split

folder = tempfile.TemporaryDirectory()
X, y = make_chest_xrays(520, folder.name, image_size=96, random_state=0, return_X_y=True)
X_own, X_plain, y_own, y_new = patient_train_test_split(X, y, test_size=0.6, random_state=0)


def another_hospital(film):
    """Expose, veil, blur and frame a film in another way."""
    film = film.point(lambda gray: 50 + 170 * (gray / 255) ** 0.8)
    film = film.filter(ImageFilter.BoxBlur(0.7)).resize([9 * side // 10 for side in film.size])
    sheet = Image.new("L", [10 * side // 9 for side in film.size])
    sheet.paste(film, [side // 20 for side in film.size])
    return sheet


os.mkdir(os.path.join(folder.name, "new"))
X_new = np.array([[os.path.join(folder.name, "new", os.path.basename(path))] for path in X_plain[:, 0]], dtype=object)
for (source,), (target,) in zip(X_plain, X_new, strict=True):
    another_hospital(Image.open(source).convert("L")).save(target)
print(f"{len(X_own)} films of the first hospital, {len(X_new)} of the second")

fig, axes = plt.subplots(1, 6, figsize=(9, 1.9), layout="constrained")
for place in range(3):
    for ax, path, title in zip(axes[place::3], (X_plain[place, 0], X_new[place, 0]), ("first", "second"), strict=True):
        ax.imshow(Image.open(path), cmap="gray", vmin=0, vmax=255)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
plt.show()

# %%
# As it is
# --------
# The model is as good as ever at telling who is ill from who is not, or nearly so. But its threshold no longer lies
# between them.

store = tempfile.TemporaryDirectory()
clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, memory=store.name).fit(X_own, y_own)

# --- stand-in for clf.adapt, to be removed -------------------------------------------------------------------------
from copy import deepcopy

from skpneumo import VGG19Features

extractor = VGG19Features(weights=None, n_layers=4, image_size=96, memory=store.name)
plain = extractor.fit_transform(X_own).astype(float)


def adapt(X):
    """Standardise by the films of another site."""
    own = extractor.transform(X).astype(float)
    share = len(own) / (16 + len(own))
    mean = (1 - share) * plain.mean(axis=0) + share * own.mean(axis=0)
    variance = (1 - share) * plain.var(axis=0) + share * own.var(axis=0)
    ratio = np.sqrt(variance / np.where(plain.var(axis=0) > 0, plain.var(axis=0), 1))
    ratio[plain.var(axis=0) == 0] = 1
    copy = deepcopy(clf)
    copy.feature_mean_ = mean - (plain.mean(axis=0) - clf.feature_mean_) * ratio
    copy.feature_scale_ = clf.feature_scale_ * ratio
    return copy


clf.adapt = adapt
# --- end of the stand-in -------------------------------------------------------------------------------------------

for name, films in {"first": X_plain, "second": X_new}.items():
    print(f"{name} hospital: balanced accuracy {balanced_accuracy_score(y_new, clf.predict(films)):.2f}")
from sklearn.metrics import roc_auc_score
for nm, films in {"first": X_plain, "second": X_new}.items(): print(nm, roc_auc_score(y_new, clf.decision_function(films)))
from skpneumo.model_selection import *
for n in (20,50,100):
    rng=np.random.default_rng(0)
    for seed in range(4):
        o=rng.permutation(len(X_new)); a=clf.adapt(X_new[o[:n]]); print(n, round(balanced_accuracy_score(y_new[o[n:]], a.predict(X_new[o[n:]])),3), round(roc_auc_score(y_new[o[n:]], a.decision_function(X_new[o[n:]])),3))
