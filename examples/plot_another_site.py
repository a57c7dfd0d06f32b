"""
===============================================
Another site: augmented views, then fine-tuning
===============================================

A model can be perfect on held-out patients of its own hospital and fail at the next one, where films are exposed,
framed and processed in another way. This example changes held-out films as another site might, and compares three ways
to train: on the films alone, on views of them, and with trainable layers on top of that.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere. It shows
how to look. What to expect of real films is in the user guide.
"""

# %%
# Views of a film
# ---------------
# With ``n_views=4``, each film enters the fit four times: as it is, and as three views. A view is turned, cut, exposed
# and blurred in another way, or noisier. What it looks like is drawn from the content of the file and the number of the
# view. So a film has the same views in every fold and every process, and their features are stored like all others.

import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.inspection import image_views
from skpneumo.model_selection import patient_train_test_split

folder = tempfile.TemporaryDirectory()
X, y = make_chest_xrays(160, folder.name, image_size=128, random_state=0, return_X_y=True)
X_train, X_test, y_train, y_test = patient_train_test_split(X, y, test_size=0.4, random_state=0)
print(f"{len(X_train)} films to train on, {len(X_test)} of other patients")

fig, axes = plt.subplots(2, 5, figsize=(9, 3.9), layout="constrained")
for row, views in zip(axes, image_views(X_train[:2], n_views=5, image_size=128), strict=True):
    for number, (ax, view) in enumerate(zip(row, views, strict=True)):
        ax.imshow(view, cmap="gray", vmin=0, vmax=255)
        ax.set_title("as it is" if number == 0 else f"view {number}", fontsize=10)
        ax.set_axis_off()
plt.show()

# %%
# Another site
# ------------
# Three sites that the training knows nothing of: one whose films are pale and veiled, one whose films are dark and
# hard, and one that frames them in black and smooths them.


def pale(film):
    return film.point(lambda gray: 90 + 0.55 * gray)


def dark(film):
    return film.point(lambda gray: 255 * (gray / 255) ** 2.2)


def framed(film):
    small = film.filter(ImageFilter.BoxBlur(1)).resize([3 * side // 4 for side in film.size])
    whole = Image.new("L", film.size)
    whole.paste(small, (film.width // 8, film.height // 8))
    return whole


sites = {"own": lambda film: film, "pale": pale, "dark": dark, "framed": framed}
films = {}
for name, change in sites.items():
    films[name] = [os.path.join(folder.name, f"{name}_{i}.png") for i in range(len(X_test))]
    for (path,), changed in zip(X_test, films[name], strict=True):
        change(Image.open(path).convert("L")).save(changed)

fig, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for ax, (name, paths) in zip(axes, films.items(), strict=True):
    ax.imshow(Image.open(paths[0]), cmap="gray", vmin=0, vmax=255)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()
plt.show()

# %%
# Three ways to train
# -------------------
# The second differs from the first in its views alone. The third starts from the second: the maps that enter its last
# two layers are computed once a view and kept on disk, and ten epochs run these layers only. Early stopping judges each
# epoch by films of held-out patients, plain and changed, and keeps the best weights; the head that the tuning began
# with is one of the candidates (``best_iter_ == 0``).

store = tempfile.TemporaryDirectory()
plain = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, pool_grid=4, memory=store.name, random_state=0)
recipes = {
    "films alone": {},
    "4 views": {"n_views": 4},
    "4 views, tuned": {"n_views": 4, "n_trainable_layers": 2, "tune_max_iter": 10, "early_stopping": True},
}
print(f"{'balanced accuracy (AUC)':<24}" + "".join(f"{name:>16}" for name in films))
accuracies = {}
for recipe, parameters in recipes.items():
    clf = PneumoniaClassifier(**{**plain.get_params(), **parameters}).fit(X_train, y_train)
    logits = {name: clf.decision_function(paths) for name, paths in films.items()}
    accuracies[recipe] = [balanced_accuracy_score(y_test, each > 0) for each in logits.values()]
    aucs = [roc_auc_score(y_test, each) for each in logits.values()]
    figures = [f"{accuracy:.2f} ({auc:.2f})" for accuracy, auc in zip(accuracies[recipe], aucs, strict=True)]
    print(f"{recipe:<24}" + "".join(f"{each:>16}" for each in figures))
print(f"best epoch of the tuning: {clf.best_iter_} of {clf.n_iter_}")

fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for offset, (recipe, values) in zip((-0.25, 0, 0.25), accuracies.items(), strict=True):
    ax.bar(np.arange(len(films)) + offset, values, width=0.23, label=recipe)
ax.axhline(0.5, color="gray", linewidth=1, linestyle="--")
ax.set_xticks(np.arange(len(films)), films)
ax.set_ylim(0.4, 1)
ax.set_ylabel("balanced accuracy")
ax.legend(fontsize=9, ncols=3, loc="upper right")
plt.show()

# sphinx_gallery_thumbnail_number = 1
store.cleanup()
folder.cleanup()
