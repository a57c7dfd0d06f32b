"""Effects of flipped bits in model files: ``PYTHONPATH=. python -m tests.benchmarks.damage [n_flips]``.

Each flip inverts one random bit of a file. `load_model` reads the file in another process, since unpickling damaged
data can end the process, and predictions and attributes are compared with those of the undamaged file.
"""

import functools
import os
import pickle
import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skpneumo import PneumoniaClassifier, load_model, save_model
from skpneumo.exceptions import ModelFileError

MAX_SECONDS, MAX_BYTES = 60, 4 << 30  # of a flip
MODELS = {
    "bare": PneumoniaClassifier(),
    "pipeline": make_pipeline(StandardScaler(), PneumoniaClassifier()),
    "tuned": TunedThresholdClassifierCV(PneumoniaClassifier(), cv=2),
    "calibrated": CalibratedClassifierCV(PneumoniaClassifier(), cv=2),
    "search": GridSearchCV(PneumoniaClassifier(), {"alpha": [0.1, 1.0]}, cv=2),
}
FORMATS = {
    "joblib.dump": joblib.dump,
    "joblib.dump, compress=3": functools.partial(joblib.dump, compress=3),
    "skops.io.dump": skops.io.dump,
    "save_model": save_model,
    "save_model, compress=3": functools.partial(save_model, compress=3),
    "save_model, .skops": lambda model, path: save_model(model, f"{path}.skops"),
}
KINDS = ["refused", "same", "warned", "wrong predictions", "other attributes", "fails later", "unclear error", "crash"]


def main():
    n_flips = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    X, y = data()
    print(f"{'format':<26}{'model':<12}{'bytes':>8}", *(f"{kind:>18}" for kind in KINDS), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for form, write in FORMATS.items():
            for name, model in MODELS.items():
                write(model.fit(X, y), f"{folder}/model")
                file = next(path for path in Path(folder).iterdir() if path.is_file())
                counts = count(file, n_flips)
                row = [f"{counts[kind]:>18}" for kind in KINDS]
                print(f"{form:<26}{name:<12}{file.stat().st_size:>8}", *row, flush=True)
                file.unlink()


def data():
    random = np.random.RandomState(0)
    return random.rand(40, 4), np.arange(40) % 2


def count(file, n_flips):
    """Count the outcomes; a new process goes on after each flip that ended the last one."""
    outcomes = []
    while len(outcomes) < n_flips:
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            try:
                flip(file, len(outcomes), n_flips, writer)
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as lines:
            outcomes += lines.read().decode().splitlines()
        os.waitpid(child, 0)
        if len(outcomes) < n_flips:
            outcomes.append("crash")
    return Counter(outcomes)


def flip(file, first, n_flips, writer):
    """Write the outcome of each flip to a pipe."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    original, X = file.read_bytes(), data()[0]
    expected = results(load_model(file), X)
    bits = np.random.RandomState(0).randint(8 * len(original), size=n_flips)
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder, file.name)
        for bit in bits[first:]:
            content = bytearray(original)
            content[bit // 8] ^= 1 << bit % 8
            damaged.write_bytes(content)
            signal.alarm(MAX_SECONDS)  # ends this process
            os.write(writer, f"{outcome(damaged, X, expected)}\n".encode())


def results(model, X):
    return model.predict_proba(X).tobytes(), model.predict(X).tobytes(), pickle.dumps(model)


def outcome(path, X, expected):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_model(path)
        except ModelFileError:
            return "refused"
        except BaseException:
            return "unclear error"
        try:
            found = results(model, X)
        except BaseException:
            return "fails later"
    if found[:2] != expected[:2]:
        return "wrong predictions"
    if found != expected:
        return "other attributes"
    return "warned" if caught else "same"


if __name__ == "__main__":
    main()
