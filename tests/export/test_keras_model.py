import numpy as np
import pytest

from export.conftest import EXACT, MODELS, run_in
from skpneumo import PneumoniaClassifier
from skpneumo.export import preprocess_images, to_keras


def test_keras_model_accepts_integers_and_floats(fitted, paths):
    pixels = preprocess_images(fitted, paths[:4])[..., np.newaxis]
    model = to_keras(fitted)
    proba = model.predict(pixels, verbose=0)
    np.testing.assert_array_equal(proba, model.predict(pixels.astype(np.float32), verbose=0))
    assert (proba.dtype, proba.shape) == (np.float32, (4, 2))


@pytest.mark.parametrize("number", [0, 1], ids=["fine-tuned", "dense"])
def test_saved_keras_model_runs_without_this_package(number, paths, y, tmp_path):
    parameters = [MODELS["fine-tuned"], MODELS["dense"]][number]
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


def test_keras_layers_are_float32_except_for_the_rounding_of_feature_maps(paths, y):
    layers = to_keras(PneumoniaClassifier(**EXACT | MODELS["fine-tuned"]).fit(paths, y)).layers
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
    assert [layer.name for layer in layers if layer.dtype_policy.name != "float32"] == ["round"]
