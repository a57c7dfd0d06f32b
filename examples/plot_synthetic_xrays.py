"""
====================================
Synthetic X-rays for demanding tests
====================================

:func:`~skpneumo.datasets.make_chest_xrays` draws chest X-rays of invented patients. This example shows its settings:
patterns of pneumonia and their difficulty, differences between sites, a planted shortcut and planted duplicates. With
them, a test can check whether a method withstands a known problem.

Scores on these drawings say nothing about real X-rays.
"""

# %%
# Patterns and difficulty
# -----------------------
# By default, bacterial pneumonia is "patchy" and viral pneumonia "perihilar". ``pattern`` chooses one pattern for both.
# With the same ``random_state``, the patients are the same for all patterns and difficulties. With ``masks=True``, the
# pixels of each opacity are returned beside its bounding box; yellow lines are the outlines of these masks.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import check_splits

folder = tempfile.TemporaryDirectory()


def make(name, n_samples=2, **parameters):
    """Generate X-rays in a subfolder, one per patient."""
    parameters = {"images_per_patient": 1, "image_size": 160, "random_state": 4} | parameters
    return make_chest_xrays(n_samples, Path(folder.name, name), **parameters)


def show(ax, path, title):
    """Show an image."""
    ax.imshow(Image.open(path), cmap="gray", vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=10)


patterns = ("patchy", "lobar", "perihilar", "diffuse")
fig, axes = plt.subplots(3, 5, figsize=(9, 4.6), layout="constrained")
for row, difficulty in zip(axes, (0, 0.5, 1), strict=True):
    for ax, pattern in zip(row, (None, *patterns), strict=True):
        xrays = make(f"{pattern} {difficulty}", difficulty=difficulty, pattern=pattern, masks=True)
        image = xrays.target.tolist().index(pattern is not None)
        show(ax, xrays.data[image, 0], (pattern or "normal") if difficulty == 0 else "")
        for mask in xrays.masks[image]:
            ax.contour(mask, [0.5], colors="gold", linewidths=0.7)
    row[0].set_ylabel(f"difficulty={difficulty}")
plt.show()

# %%
# Sites
# -----
# ``site`` has the settings of a hospital, which are the same for all its images. They change the distribution of the
# images, but neither the patients nor the diagnoses. ``prevalence`` is another difference between sites.

sites = {
    "default": {},
    "exposure=-0.15": {"exposure": -0.15},
    "exposure=0.15": {"exposure": 0.15},
    "haze=0.5": {"haze": 0.5},
    "zoom=-0.3": {"zoom": -0.3},
    "zoom=0.25": {"zoom": 0.25},
    "blur=3": {"blur": 3},
    'letter="L"': {"letter": "L"},
}
fig, axes = plt.subplots(2, 4, figsize=(9, 3.9), layout="constrained")
for ax, (title, site) in zip(axes.flat, sites.items(), strict=True):
    xrays = make(title, site=site, random_state=3)
    show(ax, xrays.data[xrays.target.argmax(), 0], title)
plt.show()

# %%
# A shortcut
# ----------
# With ``shortcut``, some images have a white disk, as if one hospital marked its images with a bead of lead. Here, it
# agrees with the diagnosis in 80 % of the images of each class. A model that learns the disk instead of the disease
# fails on a test set with ``shortcut=0.5``, where the disk is independent of the diagnosis.

xrays = make("shortcut", n_samples=10, shortcut=0.8)
print("The disk agrees with the diagnosis in", (xrays.marker == xrays.target).mean(), "of the images")
fig, axes = plt.subplots(2, 5, figsize=(9, 3.4), layout="constrained")
for row, label in zip(axes, (0, 1), strict=True):
    for ax, path in zip(row, xrays.data[xrays.target == label, 0], strict=True):
        show(ax, path, "")
    row[0].set_ylabel(xrays.target_names[label])
plt.show()

# %%
# Duplicates
# ----------
# ``duplicates`` is the proportion of images that are replaced by copies of images of other patients. Every other copy
# is compressed again, so that its bytes differ. ``check_splits`` compares the images themselves and finds both.

xrays = make("duplicates", n_samples=40, duplicates=0.1, image_size=128)
copies = np.flatnonzero(xrays.duplicate_of >= 0)
others = np.setdiff1d(np.arange(40), copies)
for overlap in check_splits(xrays.data[others], xrays.data[copies]):
    print(f"{overlap.kind}: {Path(overlap.train).name} and {Path(overlap.test).name}")

# %%
# Formats
# -------
# ``file_format`` is "jpeg", "png16" (16 bits per pixel) or "dicom" (12 bits per pixel, needs pydicom).

for file_format in ("jpeg", "png16"):
    path = make(file_format, file_format=file_format).data[0, 0]
    print(Path(path).name, len(np.unique(Image.open(path))), "gray values")

folder.cleanup()
