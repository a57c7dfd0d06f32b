"""Fit a small model on synthetic images, for trying out the service and the script.

Run ``python make_model.py pneumonia.joblib``. The predictions of the model on real X-rays are meaningless.
"""

import sys
import tempfile

from skpneumo import PneumoniaClassifier, save_model
from skpneumo.datasets import make_chest_xrays


def main(path: str) -> None:
    clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, memory=None)
    with tempfile.TemporaryDirectory() as folder:
        X, y = make_chest_xrays(60, folder, random_state=0, return_X_y=True)
        save_model(clf.fit(X, y), path)
    print(f"wrote {path}: an untrained network and a head fitted on 60 synthetic images, for trying out code only")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python make_model.py pneumonia.joblib")
    main(sys.argv[1])
