"""Lazy imports, and isolation from the settings of the application."""

import os
import pickle
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest

from conftest import BACKEND, QUICK, TINY, on_tensorflow
from skpneumo import PneumoniaClassifier, save_model
from skpneumo._keras.device import _quiet_start

HEAVY = ("keras", "tensorflow", "jax", "torch", "h5py", "matplotlib", "onnx")
LOADED = f"[name for name in {HEAVY} if name in sys.modules]"


def run(code, *arguments, **environment):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    "module",
    [
        "skpneumo",
        "skpneumo.datasets",
        "skpneumo.exceptions",
        "skpneumo.export",
        "skpneumo.inspection",
        "skpneumo.reporting",
        "skpneumo.metrics",
        "skpneumo.model_selection",
        "skpneumo.serving",
    ],
)
def test_import_loads_no_heavy_packages(module):
    assert run(f"import sys, {module}; print({LOADED})").stdout.strip() == "[]"


def test_fit_and_predict_on_features_do_not_load_keras(tmp_path):
    code = f"""
    import sys, numpy as np
    from skpneumo import PneumoniaClassifier, save_model
    X = np.random.RandomState(0).rand(20, 3)
    PneumoniaClassifier().fit(X, np.arange(20) % 2).predict_proba(X)
    print({LOADED})
    """
    assert run(code).stdout.strip() == "[]"


@pytest.mark.parametrize("head", [{}, {"hidden_layer_sizes": (8,), "max_iter": 2}], ids=["probe", "dense"])
def test_prediction_on_cached_images_does_not_load_keras(head, paths, y, tmp_path):
    clf = PneumoniaClassifier(**QUICK, **head, memory=tmp_path / "store").fit(paths, y)
    joblib.dump(clf, tmp_path / "model.joblib")
    code = f"""
    import sys, joblib
    clf = joblib.load(sys.argv[1])
    logits = clf.decision_function(sys.argv[2:])
    print(logits.tobytes().hex(), {LOADED})
    """
    logits, _, loaded = run(code, tmp_path / "model.joblib", *paths).stdout.strip().partition(" ")
    assert loaded == "[]"
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(logits)), clf.decision_function(paths))


@pytest.mark.parametrize("missing", ["keras", BACKEND])
def test_prediction_on_images_without_keras_states_the_package_to_install(missing, clf, paths, y, matrix, tmp_path):
    save_model(clf.fit(paths, y), tmp_path / "model.joblib")
    np.save(tmp_path / "matrix.npy", matrix)
    code = """
    import sys, numpy as np
    class Hide:
        def find_spec(self, name, *_):
            if name.split(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    missing, model, matrix, *paths = sys.argv[1:]
    sys.meta_path.insert(0, Hide())
    import skpneumo
    clf = skpneumo.load_model(model).set_params(memory=None)
    print(len(clf.predict_proba(np.load(matrix))))
    for method in (clf.predict, clf.warm_up, skpneumo.VGG19Features(weights=None, memory=None).fit(paths).transform):
        try:
            method(*[paths] * (method != clf.warm_up))
        except ImportError as error:
            print(error)
    """
    done = run(code, missing, tmp_path / "model.joblib", tmp_path / "matrix.npy", *paths[:2])
    number, *errors = done.stdout.splitlines()
    assert int(number) == len(paths)
    assert len(errors) == 3
    package = {"jax": "'skpneumo[jax]'", "torch": "'skpneumo[torch]'"}.get(BACKEND, BACKEND)
    for error in errors:
        assert f"No module named '{missing}'" in error
        assert f"pip install {package}" in error


def test_pickle_of_default_size_is_below_1_mb(random):
    X = random.rand(50, 8192).astype(np.float32)
    clf = PneumoniaClassifier().fit(X, np.arange(50) % 2)
    assert len(pickle.dumps(clf)) < 1_000_000


def test_fitted_attributes_are_numpy_and_plain_python(paths, y):
    parameters = {"hidden_layer_sizes": (4,), "max_iter": 2, "n_trainable_layers": 1, "tune_max_iter": 1}
    clf = PneumoniaClassifier(**QUICK, **parameters, random_state=0).fit(paths, y)

    def kinds(value):
        parts = list(value.values()) if isinstance(value, dict) else value
        return set().union(*map(kinds, parts)) if isinstance(parts, list) else {type(value)}

    fitted = [value for name, value in vars(clf).items() if name.endswith("_")]
    assert set().union(*map(kinds, fitted)) <= {np.ndarray, int, float, str, type(None)}


SILENT_FIT = f"""
import sys
from skpneumo import PneumoniaClassifier, save_model
PneumoniaClassifier(**{TINY!r}, memory=None, hidden_layer_sizes=(4,), max_iter=2).fit(sys.argv[1:], [0, 1] * 3)
"""


def test_fit_prints_nothing_and_does_not_warn(paths):
    done = run(SILENT_FIT, *paths[:6])
    assert done.stdout == ""
    assert "Warning" not in done.stderr
    assert "WARNING:tensorflow" not in done.stderr


@pytest.mark.parametrize("level", [None, "1"])
def test_loading_keras_restores_log_level_and_stderr(level, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    code = """
    import os, sys
    from skpneumo._keras import keras
    def is_stderr(moment):
        assert os.path.samestat(os.fstat(2), stderr), moment
    class Watch:
        def find_spec(self, name, *_):
            if name in ("keras", "tensorflow"):
                is_stderr(name)
                print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
    stderr = os.fstat(2)
    sys.meta_path.insert(0, Watch())
    keras()
    is_stderr("afterwards")
    print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
    """
    lines = run(code, **({} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level})).stdout.split()
    assert set(lines[:-1]) == {level or "3"}
    assert lines[-1] == str(level)


def test_log_level_is_restored_after_a_failed_import(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    with pytest.raises(ImportError), _quiet_start():
        raise ImportError
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


@on_tensorflow
def test_fit_does_not_change_global_settings(paths):
    code = f"""
    import logging, os, sys, warnings
    import h5py, keras, sklearn, tensorflow as tf  # their own imports may change settings
    import skpneumo
    def state():
        return {{
            "environment": dict(os.environ), "folder": os.getcwd(), "level": logging.root.level,
            "handlers": list(logging.root.handlers), "filters": list(warnings.filters),
            "keras": (keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format(),
                      keras.config.is_interactive_logging_enabled()),
            "tensorflow": (tf.executing_eagerly(), tf.config.threading.get_intra_op_parallelism_threads(),
                           tf.get_logger().level),
        }}
    before = state()
    {SILENT_FIT.strip().replace(chr(10), chr(10) + "    ")}
    after = state()
    assert after == before, {{name for name in before if before[name] != after[name]}}
    """
    run(code, *paths[:6])


def test_global_settings_of_keras_do_not_affect_results(paths):
    code = f"""
    import sys, keras
    from skpneumo import PneumoniaClassifier, save_model
    if sys.argv[1] != "none":
        keras.config.set_floatx(sys.argv[1])
        keras.config.set_image_data_format("channels_first")
        keras.config.set_dtype_policy("mixed_float16")
    clf = PneumoniaClassifier(**{TINY!r}, memory=None, hidden_layer_sizes=(4,), max_iter=2, dropout=0.3, random_state=0)
    print(clf.fit(sys.argv[2:], [0, 1] * 3).decision_function(sys.argv[2:]).tobytes().hex())
    """
    expected = run(code, "none", *paths[:6]).stdout
    for floatx in ("float16", "float64"):
        assert run(code, floatx, *paths[:6]).stdout == expected


@on_tensorflow
def test_many_hidden_layer_sizes_cause_no_tensorflow_warning():
    code = """
    import numpy as np
    from skpneumo import PneumoniaClassifier, save_model
    X, y = np.random.RandomState(0).rand(12, 3), np.arange(12) % 2
    for units in range(2, 14):
        PneumoniaClassifier(hidden_layer_sizes=(units,), max_iter=1).fit(X, y)
    """
    assert "WARNING:tensorflow" not in run(code).stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_transform_raises_in_a_process_forked_after_keras_started(paths):
    code = f"""
    import os, sys
    from skpneumo import VGG19Features
    features = VGG19Features(**{TINY!r}, memory=None).fit(sys.argv[1:])
    features.transform(sys.argv[1:])
    child = os.fork()
    if child == 0:
        try:
            features.transform(sys.argv[1:])
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    """
    assert "forked after Keras had started" in run(code, *paths[:2]).stdout


@pytest.mark.skipif(BACKEND == "jax", reason="JAX warns of every fork, and joblib can hang when it ends such workers")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_joblib_multiprocessing_backend_raises_after_keras_started(paths):
    code = f"""
    import sys
    import joblib
    from skpneumo import VGG19Features
    features = VGG19Features(**{TINY!r}, memory=None)
    features.fit_transform(sys.argv[1:])
    try:
        joblib.Parallel(2, backend="multiprocessing")(
            joblib.delayed(features.transform)([path]) for path in sys.argv[1:]
        )
    except RuntimeError as error:
        print(error)
    """
    assert "use joblib's 'loky' or 'threading' backend" in run(code, *paths[:2]).stdout


@pytest.mark.parametrize("backend", ["numpy", "openvino", "nonsense"])
def test_transform_raises_on_unsupported_keras_backend(backend, paths):
    code = """
    import sys
    from skpneumo import VGG19Features
    try:
        VGG19Features(None, n_layers=2, image_size=32, memory=None).fit_transform(sys.argv[1:])
    except RuntimeError as error:
        print(error)
    """
    output = run(code, *paths[:2], KERAS_BACKEND=backend).stdout
    assert f"runs Keras on TensorFlow, JAX or PyTorch, but Keras is set to '{backend}'" in output
