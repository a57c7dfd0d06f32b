import numpy as np
import pytest

from export.conftest import EXACT, MODELS, run_in
from skpneumo import PneumoniaClassifier
from skpneumo.export import preprocess_images, to_keras


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


def test_only_layers_of_keras_in_float32_are_used_but_for_the_rounding_of_stored_maps(paths, y):
    layers = to_keras(PneumoniaClassifier(**EXACT | MODELS["tuned"]).fit(paths, y)).layers
    assert {type(layer).__module__.split(".")[0] for layer in layers} == {"keras"}
    assert [layer.name for layer in layers if layer.dtype_policy.name != "float32"] == ["round"]
