"""Portability of models: ``python -m tests.benchmarks.travel PYTHON OTHER_PYTHON``.

Each of two interpreters, from environments with different versions, fits models on real X-rays and saves them. Both
load each file in a new process and predict the same images. The output shows file sizes, differences of probabilities,
and the time to import the package, to load a model, and to predict one image for the first and the hundredth time
without stored features.

Requires real X-rays and weights in the folder SKPNEUMO_SHARED, and the checkout on PYTHONPATH.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = (64, 224)
N_TRAINING, N_TEST = 20, 10  # per class

WRITE = """
import json, os, sys
import joblib
from skpneumo import PneumoniaClassifier
folder, weights, size, train, labels, images = json.loads(sys.argv[1])
features = dict(weights=weights, n_layers=8, image_size=size, norm=None, precision="float32", memory=folder + "/store")
common = dict(**features, n_views=1, alpha=0.05, class_weight=None)
heads = {
    "probe": {},
    "dense": dict(hidden_layer_sizes=(64,), max_iter=20),
    "tuned": dict(n_trainable_layers=4, tune_max_iter=1),
}
found = {}
for name, head in heads.items():
    clf = PneumoniaClassifier(**common, **head, random_state=0).fit(train, labels)
    clf.set_params(memory=None)
    models = {name: clf}
    if name == "probe" and hasattr(clf, "bundle_weights"):
        import copy
        for dtype in ("float32", "float16"):
            models[f"bundled {dtype}"] = copy.deepcopy(clf).bundle_weights(dtype)
    for name, model in models.items():
        file = f"{folder}/{name}.joblib"
        joblib.dump(model, file)
        found[name] = [os.path.getsize(file), model.predict_proba(images).tolist()]
print(json.dumps(found))
"""

READ = """
import json, sys, time
file, images, n_times = json.loads(sys.argv[1])
times = [time.perf_counter()]
import skpneumo
times.append(time.perf_counter())
clf = skpneumo.load_model(file)
times.append(time.perf_counter())
clf.predict_proba(images[:1])
times.append(time.perf_counter())
for _ in range(n_times - 1):
    start = time.perf_counter()
    clf.predict_proba(images[:1])
last = time.perf_counter() - start if n_times > 1 else 0
durations = [after - before for before, after in zip(times, times[1:])] + [last]
print(json.dumps([durations, clf.predict_proba(images).tolist()]))
"""

VERSIONS = """
import json, platform
from importlib.metadata import version
names = ["scikit-learn", "numpy", "joblib", "keras", "tensorflow", "pillow"]
print(json.dumps("Python " + platform.python_version() + "".join(f", {name} {version(name)}" for name in names)))
"""


def main(arguments):
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.travel", description=__doc__.split("\n")[0])
    parser.add_argument("python", help="Python interpreter of the first environment")
    parser.add_argument("other", help="Python interpreter of the second environment")
    given = parser.parse_args(arguments)
    if "SKPNEUMO_SHARED" not in os.environ:
        parser.error("set the environment variable SKPNEUMO_SHARED to the folder with real X-rays and weights")
    shared = Path(os.environ["SKPNEUMO_SHARED"])
    train, labels, images = training_and_test_images(shared / "xrays" / "kermany")
    weights = str(shared / "weights" / "vgg19_imagenet_first_8_layers.npz")
    pythons = {"A": given.python, "B": given.other}
    for name, python in pythons.items():
        print(f"{name}: {run(python, VERSIONS)}")
    for size in SIZES:
        print(f"\n8 layers at {size} px, {len(train)} training images, {len(images)} test images")
        for writer, python in pythons.items():
            with tempfile.TemporaryDirectory() as folder:
                found = run(python, WRITE, [folder, weights, size, train, labels, images])
                for model, (n_bytes, expected) in found.items():
                    for reader, other in pythons.items():
                        n_times = 100 if model == "probe" else 1
                        file = f"{folder}/{model}.joblib"
                        durations, probabilities = run(other, READ, [file, images, n_times])
                        print(line(writer, reader, model, n_bytes, difference(expected, probabilities), durations))


def training_and_test_images(folder):
    """Return training images, their labels, and images of other patients."""
    names = {label: sorted(map(str, (folder / label).iterdir())) for label in ("NORMAL", "PNEUMONIA")}
    train = [path for paths in names.values() for path in paths[:N_TRAINING]]
    labels = [label for label in names for _ in range(N_TRAINING)]
    return train, labels, [path for paths in names.values() for path in paths[-N_TEST:]]


def run(python, code, values=None):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [python, "-c", code, json.dumps(values)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def difference(one, other):
    return max(abs(a - b) for row, twin in zip(one, other, strict=True) for a, b in zip(row, twin, strict=True))


def line(writer, reader, model, n_bytes, apart, durations):
    imported, loaded, first, hundredth = durations
    times = f"import {imported:.2f} s, load {1e3 * loaded:.0f} ms, first {first:.2f} s"
    if hundredth:
        times += f", hundredth {1e3 * hundredth:.0f} ms"
    return f"{writer} -> {reader}  {model:16}{n_bytes / 1e3:9.0f} kB  differ by {apart:.1e}  {times}"


if __name__ == "__main__":
    main(sys.argv[1:])
