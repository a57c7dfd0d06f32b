"""Use of fitted models in applications: images in memory, threads, cached features and warm-up."""

import io
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from conftest import QUICK, TINY, on_tensorflow
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._encoder import trainable
from skpneumo._encoder.spec import FeatureSpec
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.layers import LayerRange
from skpneumo.exceptions import ImageReadError
from skpneumo.model_selection import PatientGroupKFold, patient_ids

TUNED = {"n_layers": 3, "n_trainable_layers": 1, "tune_max_iter": 1}


def bytes_of(paths):
    return [Path(path).read_bytes() for path in paths]


def pil_images(paths):
    return [Image.open(path) for path in paths]


def arrays(paths):
    return [np.asarray(image) for image in pil_images(paths)]


KINDS = {
    "bytes": bytes_of,
    "open files": lambda paths: [io.BytesIO(data) for data in bytes_of(paths)],
    "PIL images": pil_images,
    "arrays": arrays,
    "one array": lambda paths: np.stack(arrays(paths)),
    "colors": lambda paths: np.repeat(np.stack(arrays(paths))[..., None], 3, axis=-1),
    "Series of bytes": lambda paths: pd.Series(bytes_of(paths)),
}


@pytest.fixture
def fitted(clf, paths, y):
    return clf.fit(paths, y)


@pytest.fixture
def pngs(paths, tmp_path):
    """Save the X-rays as PNG, since decoders may approximate JPEG."""
    for i, path in enumerate(paths):
        Image.open(path).convert("L").resize((48, 40)).save(tmp_path / f"{i}.png")
    return [str(tmp_path / f"{i}.png") for i in range(len(paths))]


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_do_not_depend_on_the_kind_of_input(fitted, pngs, kind):
    np.testing.assert_allclose(fitted.predict_proba(KINDS[kind](pngs)), fitted.predict_proba(pngs), rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "params"),
    [("bytes", {}), ("arrays", {}), ("bytes", {"n_views": 2}), ("bytes", TUNED), ("arrays", TUNED)],
)
def test_fit_on_images_in_memory_equals_fit_on_files(pngs, y, kind, params):
    clf = PneumoniaClassifier(**QUICK | params, random_state=0)
    in_memory = clf.fit(KINDS[kind](pngs), y).decision_function(pngs)
    groups = np.arange(len(y))
    np.testing.assert_allclose(in_memory, clf.fit(pngs, y, groups=groups).decision_function(pngs), rtol=1e-3, atol=1e-3)


def test_cross_validation_accepts_images_in_memory(clf, pngs, y):
    assert cross_val_score(clf, pd.DataFrame({"image": bytes_of(pngs)}), y, cv=3).mean() > 0.6


def test_cached_features_of_files_are_used_for_bytes(features, pngs, monkeypatch):
    before = features.fit_transform(pngs)
    monkeypatch.setattr(FeatureSpec, "preprocess", None)
    np.testing.assert_array_equal(features.transform(bytes_of(pngs)), before)


def test_cached_features_of_arrays_are_used_for_a_stack(features, pngs, monkeypatch):
    before = features.fit_transform(arrays(pngs))
    monkeypatch.setattr(FeatureSpec, "preprocess", None)
    np.testing.assert_array_equal(features.transform(np.stack(arrays(pngs))), before)


def test_features_are_not_cached_if_memory_is_none(fitted, pngs, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "cache"))
    fitted.set_params(memory=None).warm_up().predict_proba(bytes_of(pngs))
    assert not (tmp_path / "cache").exists()
    fitted.set_params(memory="auto").predict_proba(bytes_of(pngs))
    assert (tmp_path / "cache").exists()


def test_predict_proba_lists_all_unreadable_images_in_memory(fitted, pngs):
    good = bytes_of(pngs[:1])[0]
    with pytest.raises(ImageReadError) as caught:
        fitted.predict_proba([good, b"", b"%PDF-1.4", good[:200], good])
    assert [(i, label) for i, label, _ in caught.value.failures] == [(i, "<bytes>") for i in (1, 2, 3)]


def test_score_warns_about_training_images_passed_as_open_files(clf, xrays, y, paths):
    clf.fit(paths, y)
    with open(paths[0], "rb") as file, pytest.warns(match="1 of 1 images are in the training set"):
        clf.score([file], y[:1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_predict_proba_rejects_a_bare_image_array(fitted, dtype):
    width = len(fitted.feature_mean_)
    with pytest.raises(ValueError, match=r"Features must be floats.* For a single image, pass \[X\]"):
        fitted.predict_proba(np.zeros((width, width), dtype))


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "novelty", "adapt", "conformalize", "score"])
def test_matrix_of_pixels_is_rejected_by_every_method(fitted, random, method):
    X, y = random.randint(0, 256, (20, len(fitted.feature_mean_)), np.uint8), np.arange(20) % 2
    on_features = PneumoniaClassifier().fit(random.rand(20, X.shape[1]), y)
    arguments = (X,) if method in {"predict", "novelty"} else (X, y)
    for clf in (fitted, on_features):
        with pytest.raises(ValueError, match="Features must be floats"):
            getattr(clone(clf) if "fit" in method else clf, method)(
                *arguments, **{"classes": [0, 1]} if method == "partial_fit" else {}
            )


def test_patients_are_read_from_the_names_of_open_files(clf, paths, y):
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in paths]
        np.testing.assert_array_equal(patient_ids(files), patient_ids(paths))
        by_path = cross_val_score(clf, paths, y, cv=PatientGroupKFold(3))
        np.testing.assert_array_equal(cross_val_score(clf, files, y, cv=PatientGroupKFold(3)), by_path)


def test_prediction_methods_accept_features_of_images(fitted, pngs):
    features = fitted.features(pngs)
    assert features.shape == (40, len(fitted.feature_mean_))
    np.testing.assert_array_equal(fitted.features(features), features)
    for method in ("predict", "predict_proba", "decision_function", "novelty"):
        predict = getattr(fitted, method)
        np.testing.assert_array_equal(predict(features), predict(pngs))


def test_features_use_the_plain_view_only(clf, paths, y):
    clf.set_params(n_views_predict=3).fit(paths, y)
    np.testing.assert_array_equal(clf.features(paths), VGG19Features(**TINY).fit_transform(paths))


def test_features_of_a_fine_tuned_model_use_its_tuned_layers(clf, paths, y):
    clf.set_params(**TUNED, tune_learning_rate=1e-2).fit(paths, y)
    features = clf.features(paths)
    np.testing.assert_array_equal(clf.predict_proba(features), clf.predict_proba(paths))
    assert not np.allclose(features, VGG19Features(**TINY | {"n_layers": 3}).fit_transform(paths))


@pytest.mark.parametrize("params", [{}, TUNED], ids=["frozen", "tuned"])
def test_threads_give_equal_predictions_and_share_one_network(clf, paths, y, params, monkeypatch):
    clf.set_params(**params, memory=None).fit(paths, y)
    expected = clf.predict_proba(paths)
    built = []

    class Counted(LayerRange):
        def __init__(self, *args):
            built.append(args)
            super().__init__(*args)

    monkeypatch.setattr(backbone, "LayerRange", Counted)
    monkeypatch.setattr(trainable, "LayerRange", Counted)
    monkeypatch.setattr(trainable.TRAINABLE, "_idle", type(trainable.TRAINABLE._idle)())
    backbone._forward.cache_clear()
    start = Barrier(8)

    def predict(thread):
        start.wait()
        return [clf.predict_proba([paths[(thread + i) % 40]])[0] for i in range(20)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(predict, range(8)))
    for thread, rows in enumerate(results):
        np.testing.assert_allclose(rows, [expected[(thread + i) % 40] for i in range(20)], rtol=1e-4, atol=1e-6)
    assert len(built) == (2 if params else 1)


def test_threads_can_share_one_lazy_pil_image(fitted, pngs):
    image = Image.open(pngs[0])
    expected = fitted.predict_proba(pngs[:1])
    with ThreadPoolExecutor(8) as pool:
        for row in pool.map(lambda _: fitted.predict_proba([image]), range(16)):
            np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize("params", [{}, TUNED], ids=["frozen", "tuned"])
def test_prediction_after_warm_up_builds_no_network(clf, paths, y, params, monkeypatch):
    clf.set_params(**params).fit(paths, y)
    expected = clf.set_params(memory=None).predict_proba(paths)
    monkeypatch.setattr(trainable.TRAINABLE, "_idle", type(trainable.TRAINABLE._idle)())
    backbone._forward.cache_clear()
    assert clf.warm_up() is clf
    monkeypatch.setattr(backbone, "LayerRange", None)
    monkeypatch.setattr(trainable, "LayerRange", None)
    np.testing.assert_allclose(clf.predict_proba(paths), expected, rtol=1e-5)


def test_warm_up_does_nothing_if_fitted_on_features(clf, matrix, y):
    assert clf.fit(matrix, y).warm_up() is clf


@on_tensorflow
def test_loading_does_not_import_tensorflow_but_warm_up_does(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    code = """
        import sys, joblib
        clf = joblib.load(sys.argv[1])
        assert "keras" not in sys.modules and "tensorflow" not in sys.modules
        clf.warm_up()
        print("tensorflow" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "model.joblib"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
