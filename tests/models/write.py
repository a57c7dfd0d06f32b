"""Write the models that all later versions must read: ``PYTHONPATH=.:tests python tests/models/write.py``.

The models are saved in a folder named after the version of the package, with images, features and the expected
predictions. Each folder is written once, before the release of its version.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

import skpneumo
from skpneumo import PneumoniaClassifier, VGG19Features, save_model
from skpneumo.datasets import make_chest_xrays

BACKBONE = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 1, "memory": None, "precision": "float32"}
MODELS = {
    "probe": {"class_weight": "balanced"},
    "dense": {"hidden_layer_sizes": (8,), "max_iter": 10},
    "tuned": {"n_trainable_layers": 1, "n_views": 2, "tune_max_iter": 1},
}
N_TRAINING, N_TEST = 24, 4


def main():
    release = ".".join(skpneumo.__version__.split(".")[:2])
    folder = Path(__file__).parent / release
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    images = write_images(folder)
    drawn = make_chest_xrays(N_TRAINING, folder / "drawn", image_size=48, random_state=0)
    labels = np.array(["normal", "pneumonia"])[drawn.target]
    features = VGG19Features(**BACKBONE).fit_transform(images)
    np.savez_compressed(folder / "features.npz", features=features)
    expected = {}
    for name, parameters in MODELS.items():
        clf = PneumoniaClassifier(**BACKBONE, **parameters, random_state=0).fit(drawn.data, labels)
        save_model(clf, folder / f"{name}.joblib", compress=3)
        expected[name] = {
            "classes": clf.classes_.tolist(),
            "of images": clf.predict_proba(images).tolist(),
            "of features": clf.predict_proba(features).tolist(),
            "novelty of images": clf.novelty(images).tolist(),
            "logits of images": clf.decision_function(images).tolist(),
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    shutil.rmtree(folder / "drawn")


def write_images(folder):
    """Write PNG images, which all versions of Pillow decode identically, in the size of the network input."""
    drawn = make_chest_xrays(N_TEST, folder / "drawn", image_size=32, random_state=1)
    paths = []
    for i, path in enumerate(drawn.data.ravel()):
        paths.append(folder / "images" / f"{i}.png")
        with Image.open(path) as image:
            image.convert("L").save(paths[-1])
    shutil.rmtree(folder / "drawn")
    return paths


if __name__ == "__main__":
    main()
