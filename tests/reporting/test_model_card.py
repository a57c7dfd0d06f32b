import copy
import importlib.util
import itertools
import re
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline

import skpneumo.reporting
from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier
from skpneumo._vgg19.weights import load_layers
from skpneumo.reporting import model_card
from skpneumo.reporting._evaluation import evaluate
from skpneumo.reporting._markdown import plain, prose

MARK = "[To be filled in: "
PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "reports.rst"
REPORT = Path(skpneumo.reporting.__file__).parent / "templates" / "report.html"
OF_PERFORMANCE = ["Testing Data", "Metrics", "Results", "Calibration", "Subgroups", "Failure Analysis"]
KERMANY = "Training Population", "Reference Standard", "Image Acquisition", "Availability"


@pytest.fixture(scope="module")
def fitted(xrays):
    """A model fitted on a part of the X-rays, with all images of its patients."""
    return PneumoniaClassifier(**QUICK, memory=None).fit(xrays.data[:30], xrays.target[:30])


@pytest.fixture(scope="module")
def evaluation(fitted, xrays):
    return evaluate(fitted, xrays.data, xrays.target, prevalence=0.2)


@pytest.fixture(scope="module", name="X")
def features_fixture():
    return np.random.RandomState(0).rand(40, 3)


@pytest.fixture(scope="module", name="t")
def labels_fixture():
    return np.arange(40) % 2


@pytest.fixture(scope="module")
def probe(X, t):
    return PneumoniaClassifier().fit(X, t)


def sections_of(card):
    """Return the text under each Markdown heading."""
    body = card.split("\n---\n", 1)[1]
    lines, starts = body.split("\n"), []
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    for heading, inline in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            starts.append((inline.content, *heading.map))
    ends = [start for _, start, _ in starts[1:]] + [len(lines)]
    return {name: "\n".join(lines[after:end]).strip() for (name, _, after), end in zip(starts, ends, strict=True)}


def metadata_of(card):
    return yaml.safe_load(card.split("---\n")[1])


# Placeholders and texts of the user


def test_unknown_facts_are_placeholders(probe):
    sections = sections_of(model_card(probe))
    marked = [name for name, text in sections.items() if MARK in text]
    assert {"Developers", "License", "Direct Use", "Training Population", "Ethical Considerations", "Citation"} < {
        *marked
    }
    assert "Training Hyperparameters" not in marked


def test_performance_is_a_placeholder_without_evaluation(fitted):
    sections = sections_of(model_card(fitted))
    assert {sections[name] for name in OF_PERFORMANCE} == {
        "[To be filled in: pass the result of report on test images as evaluation]"
    }


def test_user_text_replaces_the_placeholder(probe):
    sections = sections_of(model_card(probe, sections={"Developers": "a group", "Limitations": "only *one* site"}))
    assert sections["Developers"] == "a group"
    assert "medical device" in sections["Limitations"]
    assert sections["Limitations"].endswith("only *one* site")
    assert MARK not in sections["Limitations"]


def test_complete_card_has_no_placeholder(fitted, evaluation):
    names = [name for name, text in sections_of(model_card(fitted, evaluation=evaluation)).items() if MARK in text]
    assert MARK not in model_card(fitted, evaluation=evaluation, sections=dict.fromkeys(names, "text"))


def test_unknown_sections_are_named(probe):
    with pytest.raises(ValueError, match=r"sections: 'Licence', 'Uses'\. .* sections are 'Model Description', "):
        model_card(probe, sections={"Licence": "a", "Uses": "b", "Developers": "c"})


def test_invalid_texts_are_named(probe):
    with pytest.raises(ValueError, match=r"'Developers': ' ', 'Citation': None"):
        model_card(probe, sections={"Developers": " ", "Citation": None, "License": "mit"})


def test_parameters_of_wrong_type_raise(probe):
    with pytest.raises(TypeError, match=r"sections must be a mapping .* got 'abc'"):
        model_card(probe, sections="abc")
    with pytest.raises(TypeError, match=r"'test_name' .* must be an instance of 'str' or None. Got 5"):
        model_card(probe, test_name=5)


@pytest.mark.parametrize(
    "sections", [{"License": ["x"] * 100_000}, {"x" * 100_000: "a"}, {str(i): "a" for i in range(10_000)}]
)
def test_error_messages_are_short(probe, sections):
    with pytest.raises(ValueError, match="sections") as error:
        model_card(probe, sections=sections)
    assert len(str(error.value)) < 3000


def test_collection_is_described_only_if_given(probe):
    without, described = (sections_of(model_card(probe, collection=collection)) for collection in (None, "kermany"))
    assert "children" not in " ".join(without.values())
    assert "aged one to five years" in described["Training Population"]
    assert all(without[name].startswith(MARK) and not described[name].startswith(MARK) for name in KERMANY)
    with pytest.raises(ValueError, match=r"among {'kermany'} or None. Got 'chexpert'"):
        model_card(probe, collection="chexpert")


def test_collection_text_does_not_mention_the_evaluation(probe):
    described = sections_of(model_card(probe, collection="kermany"))
    assert "labels of that collection's folder `test` only" in described["Reference Standard"]
    assert "better" not in described["Reference Standard"]
    assert "no other disease" not in described["Training Population"]


@pytest.mark.parametrize("name", ["jinja2", "yaml"])
def test_missing_package_raises_before_checking_the_model(monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each == name else found(each))
    with pytest.raises(ImportError, match=rf"model_card requires {name}, .*skpneumo\[report\]"):
        model_card(None)


# Facts about the model


def test_training_images_and_patients_are_counted(fitted):
    summary = fitted.training_summary_
    rows = list(zip([0, 1], summary["n_images_by_class"], summary["n_patients_by_class"], strict=True))
    text = sections_of(model_card(fitted))["Training Data"]
    assert all(f"| {label} | {n} | {patients} |" in text for label, n, patients in rows)
    assert f"| All | 30 | {summary['n_patients']} |" in text


def test_layers_are_listed_as_frozen_or_trained(xrays):
    tuned = PneumoniaClassifier(**QUICK, memory=None, n_trainable_layers=1, tune_max_iter=1)
    text = sections_of(model_card(tuned.fit(xrays.data, xrays.target)))["Model Architecture and Objective"]
    assert re.findall(r"block\d_conv\d \| 3 x 3 \| (\w+)", text) == ["frozen", "trained"]
    assert f"{3 * 3 * 3 * 64 + 64 + 3 * 3 * 64 * 64 + 64:,} weights and biases" in text


def test_card_of_a_model_of_features_does_not_mention_layers(probe):
    card = model_card(probe)
    sections = sections_of(card)
    assert "3 features per image" in sections["Model Description"]
    assert "VGG19" not in card
    assert "n_layers" not in card
    assert "computation from images is not known" in sections["Preprocessing"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"class_weight": {0: 1.0, 1: 3.0}}, "Class weights in the loss: {0: 1.0, 1: 3.0}."),
        ({"sampler": "over"}, "resampled with sampler='over'."),
        ({"class_weight": "balanced", "prior_correction": False}, "Probabilities were not corrected"),
        ({"class_weight": "balanced"}, "corrected to the prevalence of the training images"),
        ({"hidden_layer_sizes": (4,), "max_iter": 2}, "epochs of the last stage: 2."),
    ],
)
def test_training_procedure_is_described(X, t, parameters, expected):
    clf = PneumoniaClassifier(**parameters, random_state=0).fit(X, t)
    assert expected in sections_of(model_card(clf))["Training Procedure"]


def test_early_stopping_is_described(X, t):
    clf = PneumoniaClassifier(hidden_layer_sizes=(4,), early_stopping=True, max_iter=3, random_state=0).fit(X, t)
    sections = sections_of(model_card(clf))
    assert f"held out {clf.training_summary_['n_held_out']} of the training images" in sections["Partitions"]
    assert f"kept the weights of epoch {clf.best_iter_}," in sections["Training Procedure"]


@pytest.mark.parametrize(
    ("wrap", "section", "expected"),
    [
        (
            lambda clf: FixedThresholdClassifier(clf, threshold=0.3),
            "Operating Point",
            "at least 0.3 (set by the developers",
        ),
        (lambda clf: TunedThresholdClassifierCV(clf, cv=2), "Operating Point", "tuned by TunedThresholdClassifierCV"),
        (
            lambda clf: TunedThresholdClassifierCV(clf, cv=2, response_method="decision_function"),
            "Operating Point",
            "applies to decision_function",
        ),
        (lambda clf: clf.set_params(class_weight={0: 1, 1: 3}), "Operating Point", "corrected to another prevalence"),
        (lambda clf: clf.set_params(class_weight=None), "Operating Point", "at least 0.5 (the default: the class"),
        (lambda clf: GridSearchCV(clf, {"alpha": [0.1, 1]}, cv=2), "Model Selection", "among 2 candidates"),
        (lambda clf: CalibratedClassifierCV(clf, ensemble=False, cv=2), "Model Selection", "(method=sigmoid)"),
    ],
)
def test_wrappers_are_described(X, t, wrap, section, expected):
    assert expected in sections_of(model_card(wrap(PneumoniaClassifier()).fit(X, t)))[section]


def test_later_calibration_does_not_record_its_images(probe, X, t):
    later = CalibratedClassifierCV(FrozenEstimator(probe), cv=2, ensemble=False).fit(X, t)
    sections = sections_of(model_card(later))
    assert "such as a calibration, are not recorded" in sections["Partitions"]
    assert "calibrated on" in sections["Limitations"]


def test_multiclass_model_has_no_threshold(X):
    clf = PneumoniaClassifier().fit(X, np.arange(40) % 3)
    assert "highest logit" in sections_of(model_card(clf))["Operating Point"]


def test_model_during_fit_has_a_card(probe):
    training = copy.deepcopy(probe)
    training.reference_ = {}  # the state passed to callbacks
    assert "are not known" in sections_of(model_card(training))["Limitations"]


def test_card_contains_no_folders(xrays, tmp_path):
    path = tmp_path / "somebody" / "vgg19.npz"
    path.parent.mkdir()
    np.savez(path, **load_layers(None, 2))
    clf = PneumoniaClassifier(**{**TINY, "weights": str(path)}, memory=None).fit(xrays.data, xrays.target)
    card = model_card(clf.set_params(memory="/home/somebody/cache"))
    assert "somebody" not in card
    assert "'vgg19.npz'" in sections_of(card)["Training Hyperparameters"]


def test_code_in_the_card_runs(fitted, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joblib.dump(fitted, "pneumonia.joblib")
    Path("xray.jpeg").write_bytes(Path(paths[0]).read_bytes())
    text = sections_of(model_card(fitted))["How to Get Started with the Model"]
    variables = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], variables)
    np.testing.assert_array_equal(variables["probabilities"], fitted.predict_proba(paths[:1])[:, 1])
    assert variables["predictions"].shape == variables["novelty"].shape == (1,)


def test_code_in_the_card_of_a_model_of_features_runs(probe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joblib.dump(probe, "pneumonia.joblib")
    text = sections_of(model_card(probe))["How to Get Started with the Model"]
    variables = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], variables)
    assert variables["probabilities"].shape == (1,)


def test_head_from_partial_fit_is_random(X, t):
    heads = [PneumoniaClassifier() for _ in range(2)]
    for clf in heads:
        for _ in range(2):
            clf.partial_fit(X, t, classes=[0, 1])
    assert not np.array_equal(heads[0].coefs_[0], heads[1].coefs_[0])
    assert "cannot be repeated exactly" in sections_of(model_card(heads[0]))["Reproduction"]
    assert "The fit is deterministic" in sections_of(model_card(PneumoniaClassifier().fit(X, t)))["Reproduction"]


def test_digests_differ_between_models_and_survive_saving(fitted, probe, tmp_path):
    joblib.dump(fitted, tmp_path / "model")
    first, again, other = (
        sections_of(model_card(clf))["Digests"] for clf in (fitted, joblib.load(tmp_path / "model"), probe)
    )
    assert first == again
    assert re.findall(r"[0-9a-f]{32}", first)[0] not in other


@pytest.mark.parametrize(
    "changed",
    [
        {"pool_grid": 1},
        {"aspect": "pad"},
        {"contrast": "equalize"},
        {"image_size": 48},
        {"weights": "imagenet"},
        {"weights": "none.npz"},
        {"n_layers": 40},
        {"n_layers": "4"},
        {"image_size": None},
        {"pool_grid": None},
        {"n_trainable_layers": 1},
        {"n_trainable_layers": 3},
        {"alpha": "1"},
        {"augmentation": None},
    ],
)
def test_changed_parameters_raise(fitted, changed):
    with pytest.raises(ValueError, match="changed since the fit"):
        model_card(copy.deepcopy(fitted).set_params(**changed))


@pytest.mark.parametrize("changed", [{"n_trainable_layers": 1}, {"alpha": None}])
def test_changed_parameters_of_a_model_of_features_raise(probe, changed):
    with pytest.raises(ValueError, match="changed since the fit"):
        model_card(copy.deepcopy(probe).set_params(**changed))


def test_card_of_a_model_with_a_sampler_does_not_require_imbalanced_learn(tuned, monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.combine", None)
    card = model_card(copy.deepcopy(tuned).set_params(sampler="over"))
    assert "resampled with sampler='over'." in sections_of(card)["Training Procedure"]


@pytest.mark.parametrize(
    "changed",
    [{"weights": None}, {"n_trainable_layers": 2}, {"n_trainable_layers": 0}, {"n_layers": 3}, {"aspect": "pad"}],
)
def test_changed_parameters_of_a_tuned_model_raise(tuned, changed):
    with pytest.raises(ValueError, match="changed since the fit"):
        model_card(copy.deepcopy(tuned).set_params(**changed))


def test_card_does_not_read_weights(tuned):
    assert not Path(tuned.weights).exists()
    assert "'w.npz'" in model_card(tuned)


@pytest.fixture(scope="module")
def tuned(xrays, tmp_path_factory):
    """A model with one trained layer whose weight file is deleted."""
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    np.savez(path, **load_layers(None, 2))
    parameters = {**TINY, "weights": str(path), "n_trainable_layers": 1, "tune_max_iter": 1}
    fitted = PneumoniaClassifier(**parameters, memory=None).fit(xrays.data, xrays.target)
    path.unlink()
    return fitted


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_model_with_bundled_weights_has_a_card(fitted, tuned, dtype, tmp_path):
    np.savez(tuned.weights, **load_layers(None, 2))
    bundled = [clf.bundle_weights(dtype=dtype) for clf in (fitted, tuned)]
    Path(tuned.weights).unlink()
    assert all("includes the weights" in model_card(clf) for clf in bundled)


def test_estimator_without_fitted_model_raises(X, t):
    with pytest.raises(NotFittedError):
        model_card(PneumoniaClassifier())
    failed = PneumoniaClassifier()
    with pytest.raises(ValueError, match="Sample weights"):
        failed.fit(X, t, sample_weight=np.zeros(len(t)))
    with pytest.raises(NotFittedError):
        model_card(failed)
    with pytest.raises(TypeError, match="LogisticRegression"):
        model_card(LogisticRegression().fit(X, t))
    with pytest.raises(TypeError, match="Pipeline"):
        model_card(make_pipeline(LogisticRegression()).fit(X, t))


# Results of the evaluation


def test_metrics_equal_the_evaluation(fitted, evaluation):
    card, performance = model_card(fitted, evaluation=evaluation), evaluation.performance
    assert f"| 1 (positive) | {performance.tp} | {performance.fn} |" in card
    assert f"| 0 (negative) | {performance.fp} | {performance.tn} |" in card
    names = {
        "Sensitivity (true positive rate)": "sensitivity",
        "Area under the ROC curve (AUC)": "roc_auc",
        "Brier score": "brier_score",
    }
    for title, name in names.items():
        metric = performance[name]
        limits = f"{metric.lower:.3f} to {metric.upper:.3f}"
        assert f"| {title} | {metric.estimate:.3f} | {limits} | {metric.method} |" in card
    assert len(re.findall(r"^\| .* to .* \|$", sections_of(card)["Results"], re.MULTILINE)) == 11
    assert "0.2, as stated by the user" in card


def test_subgroups_equal_the_evaluation(fitted, evaluation):
    text = sections_of(model_card(fitted, evaluation=evaluation))["Subgroups"]
    assert all(
        f"| {each.value} | {each.n} | {each.n_positive} | {each.n_patients} |" in text for each in evaluation.subgroups
    )
    assert len(evaluation.subgroups) == 2


def test_errors_are_counted_without_file_names(fitted, evaluation):
    card = model_card(fitted, evaluation=evaluation)
    text = sections_of(card)["Failure Analysis"]
    assert "File names are omitted" in text
    assert text.startswith(
        f"- False negatives: {evaluation.performance.fn} of {evaluation.y.sum()} images with label 1"
    )
    assert not any(name in card for name in evaluation.names)


def test_leakage_is_reported(fitted, evaluation, xrays):
    sections = sections_of(model_card(fitted, evaluation=evaluation))
    assert "Test images in the training data: 30 of 40" in sections["Partitions"]
    assert "optimistically biased" in sections["Limitations"]
    unknown = evaluate(fitted, fitted.features(xrays.data), xrays.target)
    sections = sections_of(model_card(fitted, evaluation=unknown))
    assert "patients of the test images are not known" in sections["Limitations"]
    assert "is not known: the patients of the test images are not identified" in sections["Partitions"]


def test_unidentified_patients_are_not_counted(probe, X, t):
    text = sections_of(model_card(probe, evaluation=evaluate(probe, X, t, groups=np.arange(40))))["Partitions"]
    assert "Test images in the training data: 40 of 40" in text
    assert "is not known: the patients of the training images are not identified" in text
    both = sections_of(model_card(probe, evaluation=evaluate(probe, X, t)))["Partitions"]
    assert "patients of the training and test images are not identified" in both


def test_novelty_is_reported_with_enough_training_images(fitted, evaluation, random):
    few = sections_of(model_card(fitted, evaluation=evaluation))["Testing Data"]
    assert "novelty" not in few  # 30 training images give no p-value as small as 0.01
    X, y = random.rand(300, 3), np.arange(300) % 2
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    X[200:230] += 100
    evaluated = evaluate(clf, X[200:], y[200:])
    n_novel = int((evaluated.novelty <= 0.01).sum())
    assert n_novel >= 30
    text = sections_of(model_card(clf, evaluation=evaluated))["Testing Data"]
    assert f"{n_novel} images ({n_novel}.0 %) have a novelty p-value of at most 0.01;" in text
    assert "about 1 % are expected" in text


def test_threshold_of_the_evaluation_is_compared_with_that_of_the_model(fitted, xrays):
    other = evaluate(fitted, xrays.data, xrays.target, threshold=0.25)
    text = sections_of(model_card(fitted, evaluation=other))["Operating Point"]
    assert "probability of 0.25, another threshold" in text
    assert f"at least {fitted.threshold_:.2g} (the threshold that the head was trained for" in text


@pytest.mark.parametrize(
    ("stated", "expected"),
    [(0.7, "0.7 of the positive class (1), the same"), (0.5, "0.5 of the positive class (1), another")],
)
def test_threshold_of_the_negative_class_names_that_class(probe, X, t, stated, expected):
    fixed = FixedThresholdClassifier(FrozenEstimator(probe), threshold=0.3, pos_label=0).fit(X, t)
    rule = "An image is predicted 0 if the probability of this class is at least 0.3 (set by the developers"
    text = sections_of(model_card(fixed, evaluation=evaluate(fixed, X, t, threshold=stated)))["Operating Point"]
    assert rule in text
    assert f"at a probability of {expected}" in text
    assert rule in sections_of(model_card(fixed))["Operating Point"]


def test_automatic_threshold_is_the_default(X, t):
    corrected = PneumoniaClassifier(class_weight={0: 1, 1: 3}).fit(X, t)
    automatic = FixedThresholdClassifier(FrozenEstimator(corrected)).fit(X, t)
    assert corrected.threshold_ != 0.5
    text = sections_of(model_card(automatic))["Operating Point"]
    assert "at least 0.5 (the default: the class with the higher probability is predicted)" in text
    np.testing.assert_array_equal(automatic.predict(X), corrected.predict_proba(X)[:, 1] >= 0.5)


def test_evaluation_of_wrong_type_or_classes_raises(fitted, evaluation, X):
    with pytest.raises(TypeError, match="got DiagnosticReport"):
        model_card(fitted, evaluation=evaluation.performance)
    other = PneumoniaClassifier().fit(X, np.array(["ill", "well"])[np.arange(40) % 2])
    with pytest.raises(ValueError, match=r"\[0, 1\], but those of the model are \['ill', 'well'\]"):
        model_card(other, evaluation=evaluation)


def test_evaluation_of_another_model_raises(probe, X, t):
    other = PneumoniaClassifier(alpha=10).fit(X, t)
    evaluated = evaluate(other, X, t)
    with pytest.raises(ValueError, match="another model with the same classes"):
        model_card(probe, evaluation=evaluated)
    assert model_card(other, evaluation=evaluated)


@pytest.mark.parametrize(
    "other", [make_pipeline(LogisticRegression()), CalibratedClassifierCV(PneumoniaClassifier(), cv=2)]
)
def test_evaluation_of_no_or_several_models_raises(probe, X, t, other):
    evaluated = evaluate(other.fit(X, t), X, t)
    with pytest.raises(ValueError, match="not of exactly one PneumoniaClassifier"):
        model_card(probe, evaluation=evaluated)


def test_evaluation_of_a_wrapper_is_accepted(probe, X, t):
    wrapper = CalibratedClassifierCV(FrozenEstimator(probe), cv=2, ensemble=False).fit(X, t)
    assert model_card(wrapper, evaluation=evaluate(wrapper, X, t))


def test_evaluation_is_accepted_after_saving_the_model(fitted, evaluation, tmp_path):
    joblib.dump(fitted, tmp_path / "model")
    card = model_card(fitted, evaluation=evaluation)
    assert model_card(joblib.load(tmp_path / "model"), evaluation=evaluation) == card


def test_evaluation_is_accepted_for_a_copy_with_the_same_weights(fitted, evaluation):
    assert model_card(fitted.bundle_weights(), evaluation=evaluation)
    with pytest.raises(ValueError, match="another model with the same classes"):
        model_card(fitted.bundle_weights(dtype="float16"), evaluation=evaluation)


# Metadata


def test_metadata_hold_known_facts_only(fitted, evaluation):
    metadata = metadata_of(model_card(fitted))
    assert metadata["library_name"] == "skpneumo"
    assert {"license", "metrics", "model-index"}.isdisjoint(metadata)
    metadata = metadata_of(model_card(fitted, evaluation=evaluation, sections={"License": "bsd-3-clause"}))
    assert metadata["license"] == "bsd-3-clause"
    assert "roc_auc" in metadata["metrics"]
    assert "model-index" not in metadata
    assert "license" not in metadata_of(model_card(fitted, sections={"License": "ask us"}))


def test_metadata_list_results_under_the_name_of_the_test_data(fitted, evaluation):
    name = 'X-rays: "ours" # 1'
    index = metadata_of(model_card(fitted, evaluation=evaluation, test_name=name, title="a: b"))["model-index"]
    results = index[0]["results"][0]
    assert index[0]["name"] == "a: b"
    assert results["dataset"] == {"name": name, "type": "x-rays-ours-1"}
    assert results["task"]["type"] == "image-classification"
    values = {each["type"]: each["value"] for each in results["metrics"]}
    assert values["roc_auc"] == round(evaluation.performance["roc_auc"].estimate, 4)


@pytest.mark.parametrize(
    ("name", "slug"), [('a:b-#-<b>"x', "a-b-b-x"), (" Ärzte\n2 ", "arzte-2"), ("胸部", "test-images")]
)
def test_name_of_test_data_becomes_a_slug(probe, X, t, name, slug):
    metadata = metadata_of(model_card(probe, evaluation=evaluate(probe, X, t), test_name=name))
    results = metadata["model-index"][0]["results"][0]
    assert results["dataset"]["type"] == slug
    assert results["task"]["type"] == "tabular-classification"
    assert "pipeline_tag" not in metadata


# Names of classes


def test_target_names_replace_labels(probe, X, t):
    card = model_card(probe, evaluation=evaluate(probe, X, t), target_names=["normal", "pneumonia"])
    assert "classes: normal, pneumonia." in card
    assert "Classes: normal (label 0), pneumonia (label 1)." in card
    assert "clf.predict_proba(X)[:, 1]  # of 1 ('pneumonia')" in card
    assert "20 positive (pneumonia), 20 negative (normal)" in card
    assert "An image is predicted pneumonia if" in card
    assert "| normal | 20 | not known |" in card
    assert "| pneumonia (positive) | " in card
    assert "normal: 50.0 %, pneumonia: 50.0 %" in card
    assert " of 20 images with label pneumonia" in card


def test_names_of_the_evaluation_are_used(probe, X, t):
    evaluated = evaluate(probe, X, t, pos_label=0, target_names=["normal", "pneumonia"])
    card = model_card(probe, evaluation=evaluated)
    assert card == model_card(probe, evaluation=evaluated, target_names=["normal", "pneumonia"])
    assert "20 positive (normal), 20 negative (pneumonia)" in card
    assert "| sick (positive) | " in model_card(probe, evaluation=evaluated, target_names=["sick", "well"])


def test_words_are_shown_as_words(X, t):
    words = np.array(["normal", "pneumonia"])[t]
    search = GridSearchCV(PneumoniaClassifier(), {"class_weight": [{words[0]: np.float64(1), words[1]: 2}]}, cv=2)
    card = model_card(search.fit(X, words))
    assert "Classes: normal, pneumonia." in card
    assert "# of 'pneumonia'" in card
    assert "{'class_weight': {'normal': 1.0, 'pneumonia': 2}}" in card
    assert "np.str_" not in card


@pytest.mark.parametrize("target_names", [["pneumonia"], "np", ["a", "a"]])
def test_invalid_target_names_raise(probe, target_names):
    with pytest.raises(ValueError, match=r"target_names must be .* classes \[0, 1\]"):
        model_card(probe, target_names=target_names)


# Escaping

HOSTILE = "a | b\n# c <script>alert(1)</script> `d` \\| [e](f) *g*"


def test_names_are_escaped_in_tables(X):
    labels = np.array([HOSTILE, "well"], dtype=object)[np.arange(40) % 2]
    clf = PneumoniaClassifier(class_weight={HOSTILE: 2.0, "well": 1.0}).fit(X, labels)
    subgroups = {HOSTILE: [HOSTILE] * 20 + ["other"] * 20}
    evaluated = evaluate(clf, X, labels, subgroups=subgroups, pos_label=HOSTILE)
    card = model_card(clf, evaluation=evaluated, title=HOSTILE)
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("\n---\n", 1)[1])
    inner = [child for token in tokens for child in token.children or ()]
    assert not [token for token in tokens + inner if "html" in token.type]
    assert {child.type for child in inner} <= {"text", "code_inline", "softbreak"}
    cells = [token.children[0].content for start, token in itertools.pairwise(tokens) if start.type == "td_open"]
    assert cells.count(" ".join(HOSTILE.split())) == 4  # a class; the column and a value of the subgroups
    n_cells, rows = 0, []
    for token in tokens:
        n_cells += token.type in ("th_open", "td_open")
        if token.type == "tr_close":
            rows.append(n_cells)
            n_cells = 0
    assert set(rows) == {2, 3, 4, 8}
    assert list(sections_of(card))[1:] == list(sections_of(model_card(clf, evaluation=evaluated)))[1:]


@pytest.mark.parametrize(
    "text",
    [
        "# Uses",
        "a\n  ## Uses ##",
        "Uses\n====",
        "Uses\n-----",
        "> # Uses",
        "- # Uses",
        "1. # Uses",
        "```\nnever ends",
        "~~~~\nnever ends",
        "```\na\n```\n# Uses\n```\nnever ends",
        "````\n```\n# Uses",
        "``` a`\n# Uses\n```",
        "- a\n  ```\n# Uses\n  ```\n# Uses",
        "> ```\n# Uses\n> ```",
        "~~~~~\n~~~~\n# Uses\n\n<b>",
        "```\n    ```\n# Uses\n",
        "<!-- never ends",
        "<script>alert(1)</script>",
        "<details>",
        "a\r# Uses",
        "a\u2028# Uses",
    ],
)
def test_user_text_stays_within_its_section(probe, text):
    plain_card, card = (model_card(probe, sections={"Developers": each}) for each in ("text", text))
    tokens = MarkdownIt("commonmark").parse(card.split("\n---\n", 1)[1])
    assert list(sections_of(card)) == list(sections_of(plain_card))
    assert sections_of(card)["Funding and Conflicts of Interest"].startswith(MARK)
    assert not [token for token in tokens if "html" in token.type]


CODE = "```bibtex\n@misc{a,\n  title = {<A> & *b*},\n}\n# no heading\n---\n```"


@pytest.mark.parametrize("code", [CODE, CODE.replace("```", "~~~"), CODE.replace("```", "````"), "```\n~~~\n```"])
def test_closed_code_blocks_are_unchanged(probe, code):
    text = model_card(probe, sections={"Citation": f"Cite\r\n{code}\n# and <b>\n\n{code}"})
    cited = sections_of(text)["Citation"]
    assert cited == f"Cite\n\n{code}\n\n\\# and &lt;b>\n\n{code}"
    assert list(sections_of(text)) == list(sections_of(model_card(probe)))


def test_markdown_of_user_texts_is_kept():
    text = "**bold** and [a link](https://example.org/a_b)\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    assert prose(text) == text
    assert prose("one\rtwo\r\nthree") == "one\ntwo\nthree"


def test_plain_text_is_rendered_literally():
    assert MarkdownIt("commonmark").renderInline(plain("n_layers_=2 *a* _b_ \u202e[c](d)\n<e> & `f`")) == (
        "n_layers_=2 *a* _b_ [c](d) &lt;e&gt; &amp; `f`"
    )


# Output file


def test_card_replaces_an_existing_file(probe, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before")
    assert path.read_text() == "before"
    card = model_card(probe, path, sections={"Developers": "Ärzte"})
    assert path.read_bytes() == card.encode("utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["README.md"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model_card(probe, tmp_path / "nowhere" / "README.md")


# Checklists in the documentation


def table_of(name):
    """Return the items of a checklist and the sections listed for each."""
    text = PAGE.read_text(encoding="utf-8")
    part = text.split(f".. _{name}:")[1].split("\n.. _")[0]
    rows = re.findall(r"^   \* - (\w+)\n     - (.*?)\n     - (.*?)(?=\n   \* -|\n\n)", part, re.MULTILINE | re.DOTALL)
    return {item: " ".join(where.split()) for item, _, where in rows[1:]}


CLAIM = [str(number) for number in range(1, 45)]
TRIPOD = [
    f"{number}{letter}"
    for number in range(1, 28)
    for letter in {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc"}.get(
        number, {23: "ab", 27: "abc"}.get(number, [""])
    )
]


@pytest.mark.parametrize(("name", "items"), [("claim", CLAIM), ("tripod", TRIPOD)])
def test_checklist_items_refer_to_existing_sections(probe, name, items):
    table = table_of(name)
    assert list(table) == items
    sections = {section for section, text in sections_of(model_card(probe)).items() if text}
    for item, where in table.items():
        named = [each for part in re.findall(r"Card: ([^.]*)\.", where) for each in part.split(", ")]
        assert set(named) <= sections, item
        assert named or where.startswith("Not by a model: "), item


@pytest.mark.skipif(not REPORT.exists(), reason="the report template is missing")
@pytest.mark.parametrize("name", ["claim", "tripod"])
def test_sections_of_the_report_in_checklists_exist(name):
    headings = re.findall(r"<h[23][^>]*>([^<{]+)</h[23]>", REPORT.read_text(encoding="utf-8"))
    wheres = " ".join(table_of(name).values())
    named = {each for part in re.findall(r"Report: ([^.]*)\.", wheres) for each in part.split(", ")}
    assert named
    assert named <= set(headings)
