"""Write the models that every later version has to read: ``PYTHONPATH=.:tests python tests/models/write.py``.

They go into a folder named after the version of the package, beside the films and features that they are asked about,
and the probabilities that they give. A folder is written once, before its version is released, and never again.
"""

import json
import shutil
from pathlib import Path

import joblib
import numpy as np
from PIL import Image

import skpneumo
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays

BACKBONE = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 1, "memory": None, "precision": "float32"}
MODELS = {
    "probe": {"class_weight": "balanced"},
    "dense": {"hidden_layer_sizes": (8,), "max_iter": 10},
    "tuned": {"n_trainable_layers": 1, "n_views": 2, "tune_max_iter": 1},
}
N_TRAINING, N_ASKED = 24, 4


def main():
    release = ".".join(skpneumo.__version__.split(".")[:2])
    folder = Path(__file__).parent / release
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "films").mkdir(parents=True)
    films = write_films(folder)
    drawn = make_chest_xrays(N_TRAINING, folder / "drawn", image_size=48, random_state=0)
    labels = np.array(["normal", "pneumonia"])[drawn.target]
    features = VGG19Features(**BACKBONE).fit_transform(films)
    np.savez_compressed(folder / "features.npz", features=features)
    expected = {}
    for name, parameters in MODELS.items():
        clf = PneumoniaClassifier(**BACKBONE, **parameters, random_state=0).fit(drawn.data, labels)
        joblib.dump(clf, folder / f"{name}.joblib", compress=3)
        expected[name] = {
            "classes": clf.classes_.tolist(),
            "of films": clf.predict_proba(films).tolist(),
            "of features": clf.predict_proba(features).tolist(),
            "novelty of films": clf.novelty(films).tolist(),
            "logits of films": clf.decision_function(films).tolist(),
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    shutil.rmtree(folder / "drawn")


def write_films(folder):
    """Films of PNG, which is read alike by every version of Pillow, at the size that the network sees."""
    drawn = make_chest_xrays(N_ASKED, folder / "drawn", image_size=32, random_state=1)
    paths = []
    for i, path in enumerate(drawn.data.ravel()):
        paths.append(folder / "films" / f"{i}.png")
        with Image.open(path) as film:
            film.convert("L").save(paths[-1])
    shutil.rmtree(folder / "drawn")
    return paths


if __name__ == "__main__":
    main()
