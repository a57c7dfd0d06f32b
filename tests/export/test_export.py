"""Exported models say what the classifier says."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import TunedThresholdClassifierCV

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._images.decoding import Square
from skpneumo.exceptions import ImageReadError
from skpneumo.export import preprocess_images, to_keras, to_onnx
from skpneumo.export._graph import Graph
from skpneumo.export._resample import add_squares

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

EXACT = {**TINY, "precision": "float32", "random_state": 0}
BOTH = pytest.mark.parametrize("export", [to_keras, lambda clf: to_onnx(clf, "never.onnx")], ids=["keras", "onnx"])


@pytest.fixture
def fitted(paths, y):
    return PneumoniaClassifier(**EXACT).fit(paths, y)


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def by_keras(clf, paths):
    return np.asarray(to_keras(clf)(preprocess_images(clf, paths)[..., np.newaxis]))


def by_onnx(clf, paths, folder):
    to_onnx(clf, folder / "model.onnx")
    run = session(folder / "model.onnx").run
    pixels = [np.asarray(Image.open(path).convert("L")) for path in paths]
    return np.concatenate([run(None, {"pixels": one[np.newaxis]})[0] for one in pixels])


MODELS = {
    "probe": {},
    "dense": {"hidden_layer_sizes": (6, 5), "max_iter": 3},
    "weighted": {"class_weight": {0: 1, 1: 5}},
    "weighted dense": {"class_weight": {0: 1, 1: 5}, "hidden_layer_sizes": (6,), "max_iter": 3},
    "tuned": {"n_trainable_layers": 1, "tune_max_iter": 1, "tune_learning_rate": 1e-3},
    "tuned from the first": {"n_trainable_layers": 2, "tune_max_iter": 1, "n_views": 2},
    "cut after a block": {"n_layers": 3, "n_trainable_layers": 1, "tune_max_iter": 1},
    "within a block": {"n_layers": 4, "pool_grid": 3, "image_size": 41},
    "one cell": {"n_layers": 1, "pool_grid": 1},
    "padded": {"aspect": "pad"},
    "stretched": {"aspect": "stretch"},
    "equalized": {"contrast": "equalize"},
    "equalized and padded": {"contrast": "equalize", "aspect": "pad"},
}


@pytest.mark.parametrize("parameters", MODELS.values(), ids=MODELS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_both_exports_say_what_the_classifier_says(parameters, paths, y, tmp_path):
    clf = PneumoniaClassifier(**EXACT | parameters).fit(paths, y)
    proba = clf.predict_proba(paths)
    np.testing.assert_allclose(by_onnx(clf, paths, tmp_path), proba, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_keras(clf, paths), proba, rtol=0, atol=1e-4)


@pytest.mark.parametrize("weight", [None, {"a": 1, "b": 4, "c": 2}], ids=["plain", "weighted"])
def test_three_classes_keep_their_order(weight, paths, tmp_path):
    y = np.array(["c", "a", "b", "a"] * 10)
    clf = PneumoniaClassifier(**EXACT, class_weight=weight).fit(paths, y)
    proba = clf.predict_proba(paths)
    assert proba.shape[1] == 3
    np.testing.assert_allclose(by_onnx(clf, paths, tmp_path), proba, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_keras(clf, paths), proba, rtol=0, atol=1e-4)


def test_an_adapted_copy_is_exported_as_it_is(fitted, paths, tmp_path):
    clf = fitted.adapt(paths[:25], prevalence=0.1)
    proba = clf.predict_proba(paths)
    assert np.abs(proba - fitted.predict_proba(paths)).max() > 0.01
    np.testing.assert_allclose(by_onnx(clf, paths, tmp_path), proba, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_keras(clf, paths), proba, rtol=0, atol=1e-4)


def square_session(square):
    graph = Graph()
    graph("Identity", add_squares(graph, "pixels", square), name="squares")
    helper, types = onnx.helper, onnx.TensorProto
    ends = [
        [helper.make_tensor_value_info("pixels", types.UINT8, ["n", "height", "width"])],
        [helper.make_tensor_value_info("squares", types.INT64, ["n", square.size, square.size])],
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "squares", *ends, initializer=graph.initializers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return session(model.SerializeToString())


SIZES = [(1, 1), (1, 9), (7, 1), (2, 3), (31, 32), (32, 32), (32, 77), (64, 64), (97, 48), (100, 37), (37, 100)]
SIZES += [(333, 512), (512, 333), (1, 400), (400, 1), (517, 123), (123, 517), (45, 46), (701, 700), (23, 5)]


@pytest.mark.parametrize("contrast", [None, "equalize"])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [32, 45])
def test_preprocessed_images_of_any_image_are_those_of_pillow_to_the_last_bit(size, aspect, contrast, random):
    square = Square(size, aspect, contrast)
    run = square_session(square).run
    for shape in SIZES:
        noise = random.randint(0, 256, shape).astype(np.uint8)
        dull = random.normal(90, 12, shape).clip(0, 255).astype(np.uint8)
        images = np.stack([noise, dull, np.full(shape, 200, np.uint8)])
        expected = [square.cut(Image.fromarray(image)) for image in images]
        np.testing.assert_array_equal(run(None, {"pixels": images})[0], expected, err_msg=str(shape))


def test_images_of_one_size_pass_together(fitted, random, tmp_path):
    to_onnx(fitted, tmp_path / "model.onnx")
    run = session(tmp_path / "model.onnx").run
    images = random.randint(0, 256, (3, 50, 40)).astype(np.uint8)
    together = run(None, {"pixels": images})[0]
    alone = [run(None, {"pixels": images[i : i + 1]})[0][0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_whole_numbers_and_floats_are_one_to_a_keras_model(fitted, paths):
    pixels = preprocess_images(fitted, paths[:4])[..., np.newaxis]
    model = to_keras(fitted)
    whole = model.predict(pixels, verbose=0)
    np.testing.assert_array_equal(whole, model.predict(pixels.astype(np.float32), verbose=0))
    assert (whole.dtype, whole.shape) == (np.float32, (4, 2))


@pytest.mark.parametrize("number", [0, 1], ids=["tuned", "dense"])
def test_a_saved_keras_model_runs_where_this_package_is_not(number, paths, y, tmp_path):
    parameters = [MODELS["tuned"], MODELS["dense"]][number]
    clf = PneumoniaClassifier(**EXACT | parameters).fit(paths, y)
    np.save(tmp_path / "pixels.npy", preprocess_images(clf, paths)[..., np.newaxis])
    to_keras(clf).save(tmp_path / "model.keras")
    code = """
    import sys
    sys.modules["skpneumo"] = None
    import keras, numpy as np
    model = keras.saving.load_model("model.keras", safe_mode=True)
    np.save("proba.npy", model.predict(np.load("pixels.npy"), verbose=0))
    """
    run_in(tmp_path, code)
    np.testing.assert_allclose(np.load(tmp_path / "proba.npy"), clf.predict_proba(paths), rtol=0, atol=1e-4)


def test_an_onnx_file_runs_where_neither_this_package_nor_keras_is(fitted, paths, tmp_path):
    to_onnx(fitted, tmp_path / "model.onnx")
    code = """
    import sys
    for name in ("skpneumo", "keras", "tensorflow", "onnx", "sklearn"):
        sys.modules[name] = None
    import numpy as np, onnxruntime
    from PIL import Image
    model = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    pixels = np.asarray(Image.open(sys.argv[1]).convert("L"))
    np.save("proba.npy", model.run(["probabilities"], {"pixels": pixels[np.newaxis]})[0])
    """
    run_in(tmp_path, code, paths[0])
    np.testing.assert_allclose(np.load(tmp_path / "proba.npy"), fitted.predict_proba(paths[:1]), rtol=0, atol=1e-4)


def test_an_onnx_file_is_written_without_keras(fitted, paths, tmp_path):
    import joblib

    joblib.dump(fitted, tmp_path / "model.joblib")
    code = """
    import sys, joblib
    from skpneumo.export import to_onnx
    to_onnx(joblib.load("model.joblib"), "model.onnx")
    assert not {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    """
    run_in(tmp_path, code)
    assert session(tmp_path / "model.onnx").get_outputs()[0].name == "probabilities"


def run_in(folder, code, *arguments):
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{textwrap.dedent(code)}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_layers_of_keras_in_float32_are_used_but_for_the_rounding_of_stored_maps(paths, y):
    layers = to_keras(PneumoniaClassifier(**EXACT | MODELS["tuned"]).fit(paths, y)).layers
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
    assert [layer.name for layer in layers if layer.dtype_policy.name != "float32"] == ["round"]


def test_the_file_says_what_goes_in_and_what_comes_out(fitted, tmp_path):
    to_onnx(fitted, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert "0 is black" in model.graph.input[0].doc_string
    assert "'classes'" in model.graph.output[0].doc_string
    (end,) = session(tmp_path / "model.onnx").get_inputs()
    assert (end.name, end.type, end.shape) == ("pixels", "tensor(uint8)", ["n_samples", "height", "width"])


def metadata(clf, folder):
    to_onnx(clf, folder / "model.onnx")
    entries = session(folder / "model.onnx").get_modelmeta().custom_metadata_map
    return {name: json.loads(entry) for name, entry in entries.items()}


def test_classes_and_threshold_repeat_what_predict_calls(paths, y, tmp_path):
    names = np.array(["normal", "pneumonia"])[y]
    clf = PneumoniaClassifier(**EXACT, class_weight={"normal": 1, "pneumonia": 5}).fit(paths, names)
    entries = metadata(clf, tmp_path)
    called = (by_onnx(clf, paths, tmp_path)[:, 1] > entries["threshold"]).astype(int)
    assert entries["threshold"] != 0.5
    assert [entries["classes"][code] for code in called] == clf.predict(paths).tolist()


def test_the_prior_shift_repeats_what_predict_calls_among_three_classes(paths, tmp_path):
    clf = PneumoniaClassifier(**EXACT, class_weight={0: 9, 1: 1, 2: 1}).fit(paths, np.arange(40) % 4 % 3)
    entries = metadata(clf, tmp_path)
    called = (np.log(by_onnx(clf, paths, tmp_path)) - entries["prior_shift"]).argmax(axis=1)
    assert called.tolist() == clf.predict(paths).tolist()


@BOTH
def test_what_is_no_classifier_of_images_is_refused(export, paths, y):
    tuned = TunedThresholdClassifierCV(PneumoniaClassifier(**EXACT), cv="prefit", refit=False)
    with pytest.raises(TypeError, match=r"TunedThresholdClassifierCV.*estimator_"):
        export(tuned)
    with pytest.raises(NotFittedError):
        export(PneumoniaClassifier(**EXACT))


@BOTH
def test_a_model_of_features_is_refused(export, matrix, y):
    with pytest.raises(ValueError, match="fitted on features"):
        export(PneumoniaClassifier(**EXACT).fit(matrix, y))


@BOTH
def test_several_views_are_refused_with_a_way_on(export, fitted):
    fitted.set_params(n_views_predict=3)
    with pytest.raises(ValueError, match=r"set_params\(n_views_predict=1\)"):
        export(fitted)
    assert to_keras(fitted.set_params(n_views_predict=1)).output_shape == (None, 2)


@BOTH
def test_parameters_that_have_changed_since_the_fit_are_refused(export, fitted):
    with pytest.raises(ValueError, match="others than in fit"):
        export(fitted.set_params(image_size=48))


def test_a_missing_onnx_is_said(fitted, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="pip install"):
        to_onnx(fitted, tmp_path / "model.onnx")


def test_preprocessed_images_are_what_the_network_sees(fitted, paths):
    expected = [Square(32).decode(Path(path).read_bytes()) for path in paths[:3]]
    np.testing.assert_array_equal(preprocess_images(fitted, paths[:3]), expected)


def test_preprocessed_images_name_all_images_that_cannot_be_read(fitted, paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        preprocess_images(fitted, [paths[0], broken, tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [1, 2]


def test_preprocessed_images_refuse_numbers_and_other_estimators(fitted, matrix, paths):
    with pytest.raises(ValueError, match="takes images"):
        preprocess_images(fitted, matrix)
    with pytest.raises(TypeError, match="VGG19Features"):
        preprocess_images(VGG19Features(**TINY), paths)


def test_preprocessed_images_are_those_of_the_fit_or_none(fitted, paths, matrix, y):
    with pytest.raises(ValueError, match="others than in fit"):
        preprocess_images(fitted.set_params(aspect="pad"), paths)
    with pytest.raises(ValueError, match="fitted on features"):
        preprocess_images(PneumoniaClassifier(**EXACT).fit(matrix, y), paths)


def test_an_onnx_file_is_one_whatever_its_name_ends_in(fitted, tmp_path):
    for name in ("model.onnx", "model.json"):
        to_onnx(fitted, tmp_path / name)
    assert (tmp_path / "model.json").read_bytes() == (tmp_path / "model.onnx").read_bytes()
