"""Every number, boolean and choice among the public parameters is checked, by one rule, before any image is read."""

import importlib
import inspect

import numpy as np
import pytest

import skpneumo
from skpneumo import PneumoniaClassifier, VGG19Features, datasets, inspection, metrics, model_selection, serving
from skpneumo.exceptions import ImageReadError
from skpneumo.reporting import model_card, report

MODULES = ("", ".datasets", ".export", ".inspection", ".metrics", ".model_selection", ".reporting", ".serving")
MISSING = [f"missing/person{i}_virus_1.jpeg" for i in range(8)]  # reading them raises ImageReadError
LABELS = [0, 1] * 4
NOT_FINITE = [float("nan"), float("inf"), float("-inf"), np.float32("nan")]

NOT_A_BOOLEAN = ["no", "False", 1, 0.0, None, float("nan"), np.array([True, False])]
NOT_AN_INTEGER = [*NOT_FINITE, True, False, "3", 2.5, 3.0, [3], np.array([1, 2])]
NOT_A_NUMBER = [*NOT_FINITE, True, False, "0.5", [0.5], np.array([0.5, 0.5])]
NOT_A_CHOICE = ["nonsense", "", 3, True, float("nan"), ["crop"], np.array(["crop", "pad"])]
INVALID = {
    bool: NOT_A_BOOLEAN,
    int: [*NOT_AN_INTEGER, -3],
    float: [*NOT_A_NUMBER, -3],
    str: NOT_A_CHOICE,
    "n_jobs": [*NOT_AN_INTEGER, 0],
    "random_state": [*NOT_AN_INTEGER, -1, 2**32, "seed", np.random.default_rng(0)],
}
# Kinds that the default value does not show; (kind, None is allowed).
KINDS = {
    "aspect": (str, False),
    "batch_size": (int, False),
    "contrast": (str, True),
    "grid": (int, True),
    "hidden_layer_sizes": (int, False),
    "images_per_patient": (float, False),
    "n_jobs": ("n_jobs", True),
    "n_samples": (int, False),
    "norm": (str, True),
    "prevalence": (float, True),
    "random_state": ("random_state", True),
    "shortcut": (float, True),
    "threshold": (float, True),
    "view": (str, True),
    "best_iter": (int, True),
    "class_weight": (str, True),
    "sampler": (str, True),
    "collection": (str, True),
}
FREE_TEXT = {"weights", "memory", "title", "name", "folder", "augmentation"}  # strings of any content
VALID = {"verbose": (True, False)}  # values of another kind that a parameter also accepts
SEQUENCES = {"hidden_layer_sizes", ("PneumoniaClassifier.adapt", "prevalence")}
REQUIRED_THRESHOLD = {"diagnostic_report", "ErrorGalleryDisplay", "ErrorGalleryDisplay.from_predictions"}
NOT_CHECKED = {"DiagnosticReport", "Overlap"}  # results


@pytest.fixture(scope="module")
def fitted(xrays):
    return PneumoniaClassifier(weights=None, n_layers=2, image_size=32, n_views=1, memory=None).fit(
        xrays.data, xrays.target
    )


def public_callables():
    for module in MODULES:
        namespace = importlib.import_module(f"skpneumo{module}")
        for name in namespace.__all__:
            thing = getattr(namespace, name)
            if inspect.isclass(thing) and not issubclass(thing, Exception):
                yield name, thing
                for method_name, method in inspect.getmembers(thing, inspect.isroutine):
                    if not method_name.startswith("_") and getattr(method, "__module__", "").startswith("skpneumo"):
                        yield f"{name}.{method_name}", method
            elif inspect.isfunction(thing):
                yield name, thing


def kind_of(name, parameter):
    """Return the kind of a parameter and whether it may be None; (None, True) if it is of none of the kinds."""
    if name in KINDS:
        return KINDS[name]
    if name in FREE_TEXT:
        return None, True
    default = parameter.default
    return (type(default), False) if type(default) in {bool, int, float, str} else (None, True)


def cases():
    for owner, function in public_callables():
        if owner in NOT_CHECKED:
            continue
        for name, parameter in inspect.signature(function).parameters.items():
            kind, allows_none = kind_of(name, parameter)
            if kind is None:
                continue
            allows_none &= not (name == "threshold" and owner in REQUIRED_THRESHOLD)
            allows_none &= not (name == "prevalence" and owner == "make_chest_xrays")
            yield pytest.param(owner, name, kind, allows_none, id=f"{owner}-{name}")


CASES = list(cases())


def call(owner, arguments, fitted, tmp_path):
    """Call a public function with valid arguments besides the given ones; images do not exist."""
    study = {"y_true": LABELS, "y_proba": [0.1, 0.9] * 4}
    shown = {"X": MISSING, "y": LABELS}
    gallery = dict.fromkeys(("images", "positions", "y_proba", "y_true", "names", "n_shown", "n_wrong", "n_in_all"), ())
    table = {"file": MISSING, "label": LABELS}
    functions = {
        "PneumoniaClassifier": lambda **given: PneumoniaClassifier(**given).fit(MISSING, LABELS),
        "VGG19Features": lambda **given: VGG19Features(**given).fit(MISSING),
        "PneumoniaClassifier.adapt": lambda **given: fitted.adapt(MISSING, **given),
        "PneumoniaClassifier.bundle_weights": fitted.bundle_weights,
        "PneumoniaClassifier.predict_or_abstain": lambda **given: fitted.predict_or_abstain(MISSING, **given),
        "PneumoniaClassifier.predict_set": lambda **given: fitted.predict_set(MISSING, **given),
        "diagnostic_report": lambda **given: metrics.diagnostic_report(**{**study, "threshold": 0.5, **given}),
        "sensitivity_at_specificity": lambda **given: metrics.sensitivity_at_specificity(*study.values(), **given),
        "specificity_at_sensitivity": lambda **given: metrics.specificity_at_sensitivity(*study.values(), **given),
        "DiagnosticReport.from_estimator": lambda **given: metrics.DiagnosticReport.from_estimator(
            fitted, **shown, **given
        ),
        "audit_xrays": lambda **given: datasets.audit_xrays(MISSING, LABELS, **given),
        "fetch_chest_xrays": lambda **given: datasets.fetch_chest_xrays(**{"data_home": tmp_path, **given}),
        "fetch_pneumoniamnist": lambda **given: datasets.fetch_pneumoniamnist(**{"data_home": tmp_path, **given}),
        "load_chest_xrays": lambda **given: datasets.load_chest_xrays(tmp_path / "missing", **given),
        "load_xray_table": lambda **given: datasets.load_xray_table(table, tmp_path, **given),
        "make_chest_xrays": lambda **given: datasets.make_chest_xrays(
            **{"n_samples": 2, "folder": tmp_path, "image_size": 64, **given}
        ),
        "ErrorGalleryDisplay": lambda **given: inspection.ErrorGalleryDisplay(**{**gallery, **given}),
        "ErrorGalleryDisplay.from_estimator": lambda **given: inspection.ErrorGalleryDisplay.from_estimator(
            fitted, **shown, **given
        ),
        "ErrorGalleryDisplay.from_predictions": lambda **given: inspection.ErrorGalleryDisplay.from_predictions(
            **shown, y_proba=study["y_proba"], **given
        ),
        "GradCAMDisplay.from_estimator": lambda **given: inspection.GradCAMDisplay.from_estimator(
            fitted, MISSING, **given
        ),
        "ImageGalleryDisplay.from_estimator": lambda **given: inspection.ImageGalleryDisplay.from_estimator(
            fitted, MISSING, **given
        ),
        "ImageGalleryDisplay.from_images": lambda **given: inspection.ImageGalleryDisplay.from_images(MISSING, **given),
        "ThresholdDisplay": lambda **given: inspection.ThresholdDisplay((), {}, **given),
        "ThresholdDisplay.from_estimator": lambda **given: inspection.ThresholdDisplay.from_estimator(
            fitted, **shown, **given
        ),
        "ThresholdDisplay.from_predictions": lambda **given: inspection.ThresholdDisplay.from_predictions(
            **study, **given
        ),
        "TrainingCurveDisplay": lambda **given: inspection.TrainingCurveDisplay((), (), **given),
        "grad_cam": lambda **given: inspection.grad_cam(fitted, MISSING, **given),
        "image_views": lambda **given: inspection.image_views(MISSING, **given),
        "occlusion_map": lambda **given: inspection.occlusion_map(fitted, MISSING, **given),
        "model_card": lambda **given: model_card(fitted, **given),
        "report": lambda **given: report(fitted, **shown, path=tmp_path / "report.html", **given),
        "PatientGroupKFold": model_selection.PatientGroupKFold,
        "check_splits": lambda **given: model_selection.check_splits(MISSING, MISSING, **given),
        "patient_train_test_split": lambda **given: model_selection.patient_train_test_split(MISSING, LABELS, **given),
        "save_model": lambda **given: skpneumo.save_model(fitted, tmp_path / "model", **given),
        "DynamicBatcher": lambda **given: serving.DynamicBatcher(len, **given),
    }
    return functions[owner](**arguments)


@pytest.mark.parametrize(("owner", "name", "kind", "allows_none"), CASES)
def test_invalid_value_is_named_in_the_error(owner, name, kind, allows_none, fitted, tmp_path, pyplot):
    invalid = [value for value in INVALID[kind] if not any(value is each for each in VALID.get(name, ()))]
    if name in SEQUENCES or (owner, name) in SEQUENCES:
        invalid = [value for value in invalid if not isinstance(value, list | np.ndarray)]
        invalid += [[value] for value in [*NOT_FINITE, True, "3", -1]]
    if not allows_none and kind is not bool:
        invalid.append(None)
    for value in invalid:
        with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b") as error:
            call(owner, {name: value}, fitted, tmp_path)
        assert not isinstance(error.value, ImageReadError), value


def test_parameters_of_all_public_functions_are_covered():
    assert len(CASES) > 100
    assert {"PneumoniaClassifier", "VGG19Features"} <= {case.values[0] for case in CASES}


@pytest.mark.parametrize("name", ["exposure", "haze", "zoom", "blur"])
@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_invalid_setting_of_a_site_is_named_in_the_error(name, value, tmp_path):
    with pytest.raises((TypeError, ValueError), match=rf"site\['{name}'\]"):
        datasets.make_chest_xrays(2, tmp_path, site={name: value})


@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_invalid_strength_of_augmentation_is_named_in_the_error(value):
    with pytest.raises((TypeError, ValueError), match="flip"):
        PneumoniaClassifier(augmentation={"flip": value}).fit(MISSING, LABELS)


@pytest.mark.parametrize(
    "function", [datasets.load_chest_xrays, datasets.load_dicom, skpneumo.load_model], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("value", [None, 3, ["folder"]])
def test_missing_path_is_named_in_the_error(function, value):
    with pytest.raises((TypeError, ValueError), match=r"\b(root|path)\b.* must be a"):
        function(value)


@pytest.mark.parametrize("value", [np.array([1, 20]), "x", [1, 20]])
def test_invalid_class_weight_is_named_with_what_is_expected(value):
    with pytest.raises(ValueError, match=r"class_weight.* must be a str among {'balanced'}, an instance of 'dict' or"):
        PneumoniaClassifier(class_weight=value).fit(MISSING, LABELS)


def test_numpy_numbers_are_accepted(matrix, y):
    parameters = {"alpha": np.float32(0.02), "n_views": np.int64(1), "prior_correction": np.True_}
    clf = PneumoniaClassifier(**parameters, random_state=np.uint32(3)).fit(matrix, y)
    assert clf.predict_or_abstain(matrix, level=np.float32(0.5)).shape == (40,)
    assert metrics.sensitivity_at_specificity(LABELS, LABELS, specificity=np.float32(0.5)) == 1


def test_long_value_is_shortened_in_the_error():
    for function in (PneumoniaClassifier(aspect="x" * 10_000).fit, VGG19Features(aspect="x" * 10_000).fit):
        with pytest.raises(ValueError, match=r"'aspect' parameter of .* must be a str among") as error:
            function(MISSING, LABELS)
        assert len(str(error.value)) < 600
