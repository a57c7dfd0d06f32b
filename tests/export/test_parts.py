import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import TunedThresholdClassifierCV

from export.conftest import EXACT, MODELS, by_keras, by_onnx
from skpneumo import PneumoniaClassifier
from skpneumo.export import to_keras, to_onnx

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

BOTH = pytest.mark.parametrize("export", [to_keras, lambda clf: to_onnx(clf, "never.onnx")], ids=["keras", "onnx"])


@pytest.mark.parametrize("parameters", MODELS.values(), ids=MODELS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_exported_models_match_the_classifier(parameters, paths, y, tmp_path):
    clf = PneumoniaClassifier(**EXACT | parameters).fit(paths, y)
    proba = clf.predict_proba(paths)
    np.testing.assert_allclose(by_onnx(clf, paths, tmp_path), proba, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_keras(clf, paths), proba, rtol=0, atol=1e-4)


@pytest.mark.parametrize("weight", [None, {"a": 1, "b": 4, "c": 2}], ids=["plain", "weighted"])
def test_exported_models_keep_the_order_of_three_classes(weight, paths, tmp_path):
    y = np.array(["c", "a", "b", "a"] * 10)
    clf = PneumoniaClassifier(**EXACT, class_weight=weight).fit(paths, y)
    proba = clf.predict_proba(paths)
    assert proba.shape[1] == 3
    np.testing.assert_allclose(by_onnx(clf, paths, tmp_path), proba, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_keras(clf, paths), proba, rtol=0, atol=1e-4)


def test_adapted_classifier_is_exported(fitted, paths, tmp_path):
    clf = fitted.adapt(paths[:25], prevalence=0.1)
    proba = clf.predict_proba(paths)
    assert np.abs(proba - fitted.predict_proba(paths)).max() > 0.01
    np.testing.assert_allclose(by_onnx(clf, paths, tmp_path), proba, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_keras(clf, paths), proba, rtol=0, atol=1e-4)


@BOTH
def test_other_or_unfitted_estimators_raise(export, paths, y):
    tuned = TunedThresholdClassifierCV(PneumoniaClassifier(**EXACT), cv="prefit", refit=False)
    with pytest.raises(TypeError, match=r"TunedThresholdClassifierCV.*estimator_"):
        export(tuned)
    with pytest.raises(NotFittedError):
        export(PneumoniaClassifier(**EXACT))


@BOTH
def test_model_of_features_raises(export, matrix, y):
    with pytest.raises(ValueError, match="fitted on features"):
        export(PneumoniaClassifier(**EXACT).fit(matrix, y))


@BOTH
def test_several_views_raise(export, fitted):
    fitted.set_params(n_views_predict=3)
    with pytest.raises(ValueError, match=r"set_params\(n_views_predict=1\)"):
        export(fitted)
    assert to_keras(fitted.set_params(n_views_predict=1)).output_shape == (None, 2)


@BOTH
def test_parameters_changed_after_fit_raise(export, fitted):
    with pytest.raises(ValueError, match="differ from those of fit"):
        export(fitted.set_params(image_size=48))
