import json
import sys

import numpy as np
import pytest

from export.conftest import EXACT, by_onnx, run_in, session
from skpneumo import PneumoniaClassifier
from skpneumo.export import to_onnx

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def test_batch_of_images_matches_single_images(fitted, random, tmp_path):
    to_onnx(fitted, tmp_path / "model.onnx")
    run = session(tmp_path / "model.onnx").run
    images = random.randint(0, 256, (3, 50, 40)).astype(np.uint8)
    batch = run(None, {"pixels": images})[0]
    single = [run(None, {"pixels": images[i : i + 1]})[0][0] for i in range(3)]
    np.testing.assert_allclose(batch, single, rtol=0, atol=1e-6)


def test_onnx_file_runs_without_this_package_and_keras(fitted, paths, tmp_path):
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


def test_onnx_file_is_written_without_keras(fitted, paths, tmp_path):
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


def test_onnx_file_documents_input_and_output(fitted, tmp_path):
    to_onnx(fitted, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert "0 is black" in model.graph.input[0].doc_string
    assert "'classes'" in model.graph.output[0].doc_string
    (pixels,) = session(tmp_path / "model.onnx").get_inputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(uint8)", ["n_samples", "height", "width"])


def metadata(clf, folder):
    to_onnx(clf, folder / "model.onnx")
    entries = session(folder / "model.onnx").get_modelmeta().custom_metadata_map
    return {name: json.loads(entry) for name, entry in entries.items()}


def test_metadata_classes_and_threshold_reproduce_predict(paths, y, tmp_path):
    labels = np.array(["normal", "pneumonia"])[y]
    clf = PneumoniaClassifier(**EXACT, class_weight={"normal": 1, "pneumonia": 5}).fit(paths, labels)
    entries = metadata(clf, tmp_path)
    codes = (by_onnx(clf, paths, tmp_path)[:, 1] > entries["threshold"]).astype(int)
    assert entries["threshold"] != 0.5
    assert [entries["classes"][code] for code in codes] == clf.predict(paths).tolist()


def test_metadata_prior_shift_reproduces_predict_with_three_classes(paths, tmp_path):
    clf = PneumoniaClassifier(**EXACT, class_weight={0: 9, 1: 1, 2: 1}).fit(paths, np.arange(40) % 4 % 3)
    entries = metadata(clf, tmp_path)
    codes = (np.log(by_onnx(clf, paths, tmp_path)) - entries["prior_shift"]).argmax(axis=1)
    assert codes.tolist() == clf.predict(paths).tolist()


def test_missing_onnx_raises(fitted, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="pip install onnx"):
        to_onnx(fitted, tmp_path / "model.onnx")


def test_onnx_format_does_not_depend_on_the_file_name(fitted, tmp_path):
    for name in ("model.onnx", "model.json"):
        to_onnx(fitted, tmp_path / name)
    assert (tmp_path / "model.json").read_bytes() == (tmp_path / "model.onnx").read_bytes()
