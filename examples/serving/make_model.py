"""Fit a small model on films drawn by a program, to try the service and the script with; it knows nothing of real ones.

Run ``python make_model.py pneumonia.joblib``.
"""

import sys
import tempfile

import joblib

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays


def main(path: str) -> None:
    clf = PneumoniaClassifier(weights=None, n_layers=4, image_size=96, memory=None)
    with tempfile.TemporaryDirectory() as folder:
        X, y = make_chest_xrays(60, folder, random_state=0, return_X_y=True)
        joblib.dump(clf.fit(X, y), path)
    print(f"wrote {path}: an untrained network below a head that knows 60 drawn films. It says nothing of real ones.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python make_model.py pneumonia.joblib")
    main(sys.argv[1])
