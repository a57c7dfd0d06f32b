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
from conftest import TINY
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
    """A model of half of the films, whose patients are all there."""
    return PneumoniaClassifier(**TINY, memory=None).fit(xrays.data[:30], xrays.target[:30])


@pytest.fixture(scope="module")
def evaluation(fitted, xrays):
    return evaluate(fitted, xrays.data, xrays.target, prevalence=0.2)


@pytest.fixture(scope="module", name="X")
def rows_of_numbers():
    return np.random.RandomState(0).rand(40, 3)


@pytest.fixture(scope="module", name="t")
def labels_of_rows():
    return np.arange(40) % 2


@pytest.fixture(scope="module")
def probe(X, t):
    return PneumoniaClassifier().fit(X, t)


def sections_of(card):
    """Text under each heading, by what a parser of Markdown takes for headings."""
    body = card.split("\n---\n", 1)[1]
    lines, starts = body.split("\n"), []
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    for heading, inline in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            starts.append((inline.content, *heading.map))
    ends = [start for _, start, _ in starts[1:]] + [len(lines)]
    return {name: "\n".join(lines[after:end]).strip() for (name, _, after), end in zip(starts, ends, strict=True)}


def head_of(card):
    return yaml.safe_load(card.split("---\n")[1])


# What is marked, and what is filled in


def test_what_nobody_knows_is_marked(probe):
    sections = sections_of(model_card(probe))
    marked = [name for name, text in sections.items() if MARK in text]
    assert {"Developers", "License", "Direct Use", "Training Population", "Ethical Considerations", "Citation"} < {
        *marked
    }
    assert "Training Hyperparameters" not in marked


def test_performance_is_marked_without_an_evaluation(fitted):
    sections = sections_of(model_card(fitted))
    assert {sections[name] for name in OF_PERFORMANCE} == {
        "[To be filled in: pass what report returns for test images as evaluation]"
    }


def test_a_text_takes_the_place_of_a_mark(probe):
    sections = sections_of(model_card(probe, sections={"Developers": "a group", "Limitations": "only *one* site"}))
    assert sections["Developers"] == "a group"
    assert "medical device" in sections["Limitations"]
    assert sections["Limitations"].endswith("only *one* site")
    assert MARK not in sections["Limitations"]


def test_a_card_that_is_filled_in_has_no_mark(fitted, evaluation):
    names = [name for name, text in sections_of(model_card(fitted, evaluation=evaluation)).items() if MARK in text]
    assert MARK not in model_card(fitted, evaluation=evaluation, sections=dict.fromkeys(names, "told"))


def test_sections_that_do_not_exist_are_all_named(probe):
    with pytest.raises(ValueError, match=r"no sections 'Licence', 'Uses'; its sections are 'Model Description', "):
        model_card(probe, sections={"Licence": "a", "Uses": "b", "Developers": "c"})


def test_texts_that_are_none_are_all_named(probe):
    with pytest.raises(ValueError, match=r"'Developers' is ' ', 'Citation' is None"):
        model_card(probe, sections={"Developers": " ", "Citation": None, "License": "mit"})


def test_parameters_of_another_type_are_refused(probe):
    with pytest.raises(TypeError, match=r"sections must be a mapping .* got 'abc'"):
        model_card(probe, sections="abc")
    with pytest.raises(TypeError, match="test_name must be a text, or None; got 5"):
        model_card(probe, test_name=5)


@pytest.mark.parametrize(
    "sections", [{"License": ["x"] * 100_000}, {"x" * 100_000: "a"}, {str(i): "a" for i in range(10_000)}]
)
def test_errors_stay_short(probe, sections):
    with pytest.raises(ValueError, match="sections") as error:
        model_card(probe, sections=sections)
    assert len(str(error.value)) < 3000


def test_the_collection_is_described_only_where_it_is_named(probe):
    silent, told = (sections_of(model_card(probe, collection=collection)) for collection in (None, "kermany"))
    assert "children" not in " ".join(silent.values())
    assert "one to five years" in told["Training Population"]
    assert all(silent[name].startswith(MARK) and not told[name].startswith(MARK) for name in KERMANY)
    with pytest.raises(ValueError, match="'kermany'; got 'chexpert'"):
        model_card(probe, collection="chexpert")


def test_the_collection_says_nothing_of_the_evaluation(probe):
    told = sections_of(model_card(probe, collection="kermany"))
    assert "labels of that collection's folder `test` alone" in told["Reference Standard"]
    assert "better" not in told["Reference Standard"]
    assert "no other disease" not in told["Training Population"]


@pytest.mark.parametrize("name", ["jinja2", "yaml"])
def test_a_missing_package_is_told_before_the_model_is_looked_at(monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each == name else found(each))
    with pytest.raises(ImportError, match=rf"model_card needs {name}, .*skpneumo\[report\]"):
        model_card(None)


# What the model tells


def test_images_and_patients_of_the_training_are_counted(fitted):
    summary = fitted.training_summary_
    rows = list(zip([0, 1], summary["n_images_by_class"], summary["n_patients_by_class"], strict=True))
    text = sections_of(model_card(fitted))["Training Data"]
    assert all(f"| {label} | {n} | {patients} |" in text for label, n, patients in rows)
    assert f"| All | 30 | {summary['n_patients']} |" in text


def test_layers_are_frozen_or_trained(xrays):
    tuned = PneumoniaClassifier(**TINY, memory=None, n_trainable_layers=1, tune_max_iter=1)
    text = sections_of(model_card(tuned.fit(xrays.data, xrays.target)))["Model Architecture and Objective"]
    assert re.findall(r"block\d_conv\d \| 3 x 3 \| (\w+)", text) == ["frozen", "trained"]
    assert f"{3 * 3 * 3 * 64 + 64 + 3 * 3 * 64 * 64 + 64:,} weights" in text


def test_a_model_of_features_says_nothing_of_images(probe):
    card = model_card(probe)
    sections = sections_of(card)
    assert "3 numbers an image" in sections["Model Description"]
    assert "VGG19" not in card
    assert "n_layers" not in card
    assert "not known here" in sections["Preprocessing"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"class_weight": {0: 1.0, 1: 3.0}}, "Classes were weighted in the loss: {0: 1.0, 1: 3.0}."),
        ({"sampler": "over"}, "drawn by a sampler: 'over'."),
        ({"class_weight": "balanced", "prior_correction": False}, "Probabilities were not corrected"),
        ({"class_weight": "balanced"}, "corrected to the prevalence of the training images"),
        ({"hidden_layer_sizes": (4,), "max_iter": 2}, "epochs of the last stage: 2."),
    ],
)
def test_the_procedure_is_told(X, t, parameters, said):
    clf = PneumoniaClassifier(**parameters, random_state=0).fit(X, t)
    assert said in sections_of(model_card(clf))["Training Procedure"]


def test_early_stopping_tells_what_it_held_out_and_kept(X, t):
    clf = PneumoniaClassifier(hidden_layer_sizes=(4,), early_stopping=True, max_iter=3, random_state=0).fit(X, t)
    sections = sections_of(model_card(clf))
    assert f"held out {clf.training_summary_['n_held_out']} of the training images" in sections["Partitions"]
    assert f"kept the weights of epoch {clf.best_iter_}," in sections["Training Procedure"]


@pytest.mark.parametrize(
    ("wrap", "section", "said"),
    [
        (lambda clf: FixedThresholdClassifier(clf, threshold=0.3), "Operating Point", "at least 0.3: set by whoever"),
        (lambda clf: TunedThresholdClassifierCV(clf, cv=2), "Operating Point", "tuned by TunedThresholdClassifierCV"),
        (
            lambda clf: TunedThresholdClassifierCV(clf, cv=2, response_method="decision_function"),
            "Operating Point",
            "drawn on what decision_function gives",
        ),
        (lambda clf: clf.set_params(class_weight={0: 1, 1: 3}), "Operating Point", "corrected to another prevalence"),
        (lambda clf: clf, "Operating Point", "at least 0.5: the more probable class"),
        (lambda clf: GridSearchCV(clf, {"alpha": [0.1, 1]}, cv=2), "Model Selection", "among 2 candidates"),
        (lambda clf: CalibratedClassifierCV(clf, ensemble=False, cv=2), "Model Selection", "(method=sigmoid)"),
    ],
)
def test_what_is_around_a_model_is_told(X, t, wrap, section, said):
    assert said in sections_of(model_card(wrap(PneumoniaClassifier()).fit(X, t)))[section]


def test_what_was_fitted_around_a_model_later_remembers_nothing(probe, X, t):
    later = CalibratedClassifierCV(FrozenEstimator(probe), cv=2, ensemble=False).fit(X, t)
    sections = sections_of(model_card(later))
    assert "does not remember its images" in sections["Partitions"]
    assert "calibrated on" in sections["Limitations"]


def test_of_several_classes_there_is_no_threshold(X):
    clf = PneumoniaClassifier().fit(X, np.arange(40) % 3)
    assert "highest logit" in sections_of(model_card(clf))["Operating Point"]


def test_a_model_whose_fit_has_not_ended_has_a_card(probe):
    training = copy.deepcopy(probe)
    training.reference_ = {}  # as callbacks meet it
    assert "is not known" in sections_of(model_card(training))["Limitations"]


def test_folders_of_the_machine_stay_out(xrays, tmp_path):
    path = tmp_path / "somebody" / "vgg19.npz"
    path.parent.mkdir()
    np.savez(path, **load_layers(None, 2))
    clf = PneumoniaClassifier(**{**TINY, "weights": str(path)}, memory=None).fit(xrays.data, xrays.target)
    card = model_card(clf.set_params(memory="/home/somebody/cache"))
    assert "somebody" not in card
    assert "'vgg19.npz'" in sections_of(card)["Training Hyperparameters"]


def test_the_code_of_the_card_runs(fitted, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joblib.dump(fitted, "pneumonia.joblib")
    Path("film.jpeg").write_bytes(Path(paths[0]).read_bytes())
    text = sections_of(model_card(fitted))["How to Get Started with the Model"]
    told = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], told)
    np.testing.assert_array_equal(told["probabilities"], fitted.predict_proba(paths[:1])[:, 1])
    assert told["calls"].shape == told["novelty"].shape == (1,)


def test_the_code_of_a_model_of_features_runs(probe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joblib.dump(probe, "pneumonia.joblib")
    text = sections_of(model_card(probe))["How to Get Started with the Model"]
    told = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], told)
    assert told["probabilities"].shape == (1,)


def test_a_head_from_partial_fit_was_drawn(X, t):
    heads = [PneumoniaClassifier() for _ in range(2)]
    for clf in heads:
        for _ in range(2):
            clf.partial_fit(X, t, classes=[0, 1])
    assert not np.array_equal(heads[0].coefs_[0], heads[1].coefs_[0])
    assert "cannot be repeated exactly" in sections_of(model_card(heads[0]))["Reproduction"]
    assert "drew nothing" in sections_of(model_card(PneumoniaClassifier().fit(X, t)))["Reproduction"]


def test_digests_tell_models_apart_and_survive_saving(fitted, probe, tmp_path):
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
def test_parameters_that_have_changed_since_the_fit_are_refused(fitted, changed):
    with pytest.raises(ValueError, match="changed since the fit"):
        model_card(copy.deepcopy(fitted).set_params(**changed))


@pytest.mark.parametrize("changed", [{"n_trainable_layers": 1}, {"alpha": None}])
def test_changed_parameters_of_a_model_of_features_are_refused(probe, changed):
    with pytest.raises(ValueError, match="changed since the fit"):
        model_card(copy.deepcopy(probe).set_params(**changed))


def test_a_card_of_a_model_with_a_sampler_does_without_the_package_of_samplers(tuned, monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.combine", None)
    card = model_card(copy.deepcopy(tuned).set_params(sampler="over"))
    assert "drawn by a sampler: 'over'." in sections_of(card)["Training Procedure"]


@pytest.mark.parametrize(
    "changed",
    [{"weights": None}, {"n_trainable_layers": 2}, {"n_trainable_layers": 0}, {"n_layers": 3}, {"aspect": "pad"}],
)
def test_changed_parameters_of_a_tuned_model_are_refused(tuned, changed):
    with pytest.raises(ValueError, match="changed since the fit"):
        model_card(copy.deepcopy(tuned).set_params(**changed))


def test_a_card_asks_for_no_weights(tuned):
    assert not Path(tuned.weights).exists()
    assert "'w.npz'" in model_card(tuned)


@pytest.fixture(scope="module")
def tuned(xrays, tmp_path_factory):
    """A model with one trained layer, whose file of weights is gone."""
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    np.savez(path, **load_layers(None, 2))
    parameters = {**TINY, "weights": str(path), "n_trainable_layers": 1, "tune_max_iter": 1}
    fitted = PneumoniaClassifier(**parameters, memory=None).fit(xrays.data, xrays.target)
    path.unlink()
    return fitted


@pytest.mark.parametrize("carry", ["float16", "float32"])
def test_a_model_that_carries_its_weights_has_a_card(fitted, tuned, carry, tmp_path):
    np.savez(tuned.weights, **load_layers(None, 2))
    carrying = [clf.bundle_weights(dtype=carry) for clf in (fitted, tuned)]
    Path(tuned.weights).unlink()
    assert all("carries the weights" in model_card(clf) for clf in carrying)


def test_what_holds_no_fitted_model_is_refused(X, t):
    with pytest.raises(NotFittedError):
        model_card(PneumoniaClassifier())
    with pytest.raises(TypeError, match="LogisticRegression"):
        model_card(LogisticRegression().fit(X, t))
    with pytest.raises(TypeError, match="Pipeline"):
        model_card(make_pipeline(LogisticRegression()).fit(X, t))


# What the evaluation tells


def test_figures_are_those_of_the_evaluation(fitted, evaluation):
    card, performance = model_card(fitted, evaluation=evaluation), evaluation.performance
    assert f"| Is class 1 | {performance.tp} | {performance.fn} |" in card
    assert f"| Is class 0 | {performance.fp} | {performance.tn} |" in card
    named = {"Sensitivity": "sensitivity", "Area under the ROC curve": "roc_auc", "Brier score": "brier_score"}
    for words, name in named.items():
        figure = performance[name]
        told = f"| {words} | {figure.estimate:.3f} | {figure.lower:.3f} to {figure.upper:.3f} | {figure.method} |"
        assert told in card
    assert len(re.findall(r"^\| .* to .* \|$", sections_of(card)["Results"], re.MULTILINE)) == 12
    assert "0.2, as stated by the user" in card


def test_subgroups_are_those_of_the_evaluation(fitted, evaluation):
    text = sections_of(model_card(fitted, evaluation=evaluation))["Subgroups"]
    assert all(
        f"| {each.value} | {each.n} | {each.n_positive} | {each.n_patients} |" in text for each in evaluation.subgroups
    )
    assert len(evaluation.subgroups) == 2


def test_wrong_calls_are_counted_and_no_file_is_named(fitted, evaluation):
    card = model_card(fitted, evaluation=evaluation)
    n_missed = evaluation.performance.fn
    text = sections_of(card)["Failure Analysis"]
    assert "Names of images are left out" in text
    assert text.startswith(f"- {n_missed or 'None'} of {evaluation.y.sum()} images of class 1")
    assert not any(name in card for name in evaluation.names)


def test_a_model_that_knew_the_images_is_said_to(fitted, evaluation, xrays):
    sections = sections_of(model_card(fitted, evaluation=evaluation))
    assert "Of 40 test images, 30 were in the training" in sections["Partitions"]
    assert "flatter" in sections["Limitations"]
    unknown = evaluate(fitted, fitted.features(xrays.data), xrays.target)
    sections = sections_of(model_card(fitted, evaluation=unknown))
    assert "patients of the test images are not known" in sections["Limitations"]
    assert "is not known: patients of the test images have no names" in sections["Partitions"]


def test_patients_that_nobody_named_are_not_counted(probe, X, t):
    text = sections_of(model_card(probe, evaluation=evaluate(probe, X, t, groups=np.arange(40))))["Partitions"]
    assert "Of 40 test images, 40 were in the training" in text
    assert "is not known: patients of the training images have no names" in text
    both = sections_of(model_card(probe, evaluation=evaluate(probe, X, t)))["Partitions"]
    assert "patients of the training and of the test images have no names" in both


def test_novelty_is_told_where_enough_images_make_it_known(fitted, evaluation, random):
    few = sections_of(model_card(fitted, evaluation=evaluation))["Testing Data"]
    assert "novelty" not in few  # of 30 images, none is as rare as 0.01
    X, y = random.rand(300, 3), np.arange(300) % 2
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    X[200:230] += 100
    judged = evaluate(clf, X[200:], y[200:])
    n_rare = int((judged.novelty <= 0.01).sum())
    assert n_rare >= 30
    text = sections_of(model_card(clf, evaluation=judged))["Testing Data"]
    assert f"{n_rare} of them ({n_rare}.0 %) have a novelty of at most 0.01;" in text
    assert "about 1 % would" in text


def test_another_threshold_is_named_beside_the_models_own(fitted, xrays):
    other = evaluate(fitted, xrays.data, xrays.target, threshold=0.25)
    text = sections_of(model_card(fitted, evaluation=other))["Operating Point"]
    assert "probability of 0.25, another one" in text
    assert "at least 0.5: the more probable class" in text


@pytest.mark.parametrize(("stated", "whose"), [(0.7, "0.7 of class 1, the same"), (0.5, "0.5 of class 1, another one")])
def test_a_threshold_of_the_other_class_names_that_class(probe, X, t, stated, whose):
    fixed = FixedThresholdClassifier(FrozenEstimator(probe), threshold=0.3, pos_label=0).fit(X, t)
    said = "An image is called class 0 where its probability is at least 0.3: set by whoever"
    text = sections_of(model_card(fixed, evaluation=evaluate(fixed, X, t, threshold=stated)))["Operating Point"]
    assert said in text
    assert f"at a probability of {whose}" in text
    assert said in sections_of(model_card(fixed))["Operating Point"]


def test_a_threshold_that_nobody_set_is_the_default(X, t):
    corrected = PneumoniaClassifier(class_weight={0: 1, 1: 3}).fit(X, t)
    automatic = FixedThresholdClassifier(FrozenEstimator(corrected)).fit(X, t)
    assert corrected.threshold_ != 0.5
    text = sections_of(model_card(automatic))["Operating Point"]
    assert "at least 0.5: the more probable class is called, which is the default" in text
    np.testing.assert_array_equal(automatic.predict(X), corrected.predict_proba(X)[:, 1] >= 0.5)


def test_an_evaluation_of_another_kind_is_refused(fitted, evaluation, X):
    with pytest.raises(TypeError, match="got DiagnosticReport"):
        model_card(fitted, evaluation=evaluation.performance)
    words = PneumoniaClassifier().fit(X, np.array(["ill", "well"])[np.arange(40) % 2])
    with pytest.raises(ValueError, match=r"\[0, 1\], but the classes of the model are \['ill', 'well'\]"):
        model_card(words, evaluation=evaluation)


def test_an_evaluation_of_another_model_is_refused(probe, X, t):
    other = PneumoniaClassifier(alpha=10).fit(X, t)
    judged = evaluate(other, X, t)
    with pytest.raises(ValueError, match="another model of these classes"):
        model_card(probe, evaluation=judged)
    assert model_card(other, evaluation=judged)


@pytest.mark.parametrize(
    "other", [make_pipeline(LogisticRegression()), CalibratedClassifierCV(PneumoniaClassifier(), cv=2)]
)
def test_an_evaluation_of_no_single_model_is_refused(probe, X, t, other):
    judged = evaluate(other.fit(X, t), X, t)
    with pytest.raises(ValueError, match="of no PneumoniaClassifier, or of several"):
        model_card(probe, evaluation=judged)


def test_an_evaluation_of_what_is_around_the_model_is_taken(probe, X, t):
    around = CalibratedClassifierCV(FrozenEstimator(probe), cv=2, ensemble=False).fit(X, t)
    assert model_card(around, evaluation=evaluate(around, X, t))


def test_an_evaluation_outlives_the_saving_of_its_model(fitted, evaluation, tmp_path):
    joblib.dump(fitted, tmp_path / "model")
    card = model_card(fitted, evaluation=evaluation)
    assert model_card(joblib.load(tmp_path / "model"), evaluation=evaluation) == card


def test_an_evaluation_is_that_of_a_copy_with_the_same_weights(fitted, evaluation):
    assert model_card(fitted.bundle_weights(), evaluation=evaluation)
    with pytest.raises(ValueError, match="another model of these classes"):
        model_card(fitted.bundle_weights(dtype="float16"), evaluation=evaluation)


# The head, for machines


def test_the_head_holds_what_is_known_alone(fitted, evaluation):
    head = head_of(model_card(fitted))
    assert head["library_name"] == "skpneumo"
    assert {"license", "metrics", "model-index"}.isdisjoint(head)
    head = head_of(model_card(fitted, evaluation=evaluation, sections={"License": "bsd-3-clause"}))
    assert head["license"] == "bsd-3-clause"
    assert "roc_auc" in head["metrics"]
    assert "model-index" not in head
    assert "license" not in head_of(model_card(fitted, sections={"License": "ask us"}))


def test_results_enter_the_head_under_the_name_of_the_test_images(fitted, evaluation):
    name = 'Films: "ours" # 1'
    index = head_of(model_card(fitted, evaluation=evaluation, test_name=name, title="a: b"))["model-index"]
    results = index[0]["results"][0]
    assert index[0]["name"] == "a: b"
    assert results["dataset"] == {"name": name, "type": "films-ours-1"}
    assert results["task"]["type"] == "image-classification"
    values = {each["type"]: each["value"] for each in results["metrics"]}
    assert values["roc_auc"] == round(evaluation.performance["roc_auc"].estimate, 4)


@pytest.mark.parametrize(
    ("name", "slug"), [('a:b-#-<b>"x', "a-b-b-x"), (" Ärzte\n2 ", "arzte-2"), ("胸部", "test-images")]
)
def test_the_name_of_test_images_becomes_a_slug(probe, X, t, name, slug):
    head = head_of(model_card(probe, evaluation=evaluate(probe, X, t), test_name=name))
    results = head["model-index"][0]["results"][0]
    assert results["dataset"]["type"] == slug
    assert results["task"]["type"] == "tabular-classification"
    assert "pipeline_tag" not in head


# Names and texts that try to break it

HOSTILE = "a | b\n# c <script>alert(1)</script> `d` \\| [e](f) *g*"


def test_names_cannot_break_tables(X):
    labels = np.array([HOSTILE, "well"], dtype=object)[np.arange(40) % 2]
    clf = PneumoniaClassifier(class_weight={HOSTILE: 2.0, "well": 1.0}).fit(X, labels)
    subgroups = {HOSTILE: [HOSTILE] * 20 + ["other"] * 20}
    judged = evaluate(clf, X, labels, subgroups=subgroups, pos_label=HOSTILE)
    card = model_card(clf, evaluation=judged, title=HOSTILE)
    tokens = MarkdownIt("commonmark").enable("table").parse(card.split("\n---\n", 1)[1])
    inner = [child for token in tokens for child in token.children or ()]
    assert not [token for token in tokens + inner if "html" in token.type]
    assert {child.type for child in inner} <= {"text", "code_inline", "softbreak"}
    cells = [token.children[0].content for start, token in itertools.pairwise(tokens) if start.type == "td_open"]
    assert cells.count(" ".join(HOSTILE.split())) == 4  # a class of the training; columns and a value of subgroups
    n_cells, rows = 0, []
    for token in tokens:
        n_cells += token.type in ("th_open", "td_open")
        if token.type == "tr_close":
            rows.append(n_cells)
            n_cells = 0
    assert set(rows) == {2, 3, 4, 8}
    assert list(sections_of(card))[1:] == list(sections_of(model_card(clf, evaluation=judged)))[1:]


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
def test_a_text_stays_within_its_section(probe, text):
    plainly, card = (model_card(probe, sections={"Developers": each}) for each in ("told", text))
    tokens = MarkdownIt("commonmark").parse(card.split("\n---\n", 1)[1])
    assert list(sections_of(card)) == list(sections_of(plainly))
    assert sections_of(card)["Funding and Conflicts of Interest"].startswith(MARK)
    assert not [token for token in tokens if "html" in token.type]


CODE = "```bibtex\n@misc{a,\n  title = {<A> & *b*},\n}\n# no heading\n---\n```"


@pytest.mark.parametrize("code", [CODE, CODE.replace("```", "~~~"), CODE.replace("```", "````"), "```\n~~~\n```"])
def test_code_that_ends_stays_as_it_is(probe, code):
    text = model_card(probe, sections={"Citation": f"Cite\r\n{code}\n# and <b>\n\n{code}"})
    cited = sections_of(text)["Citation"]
    assert cited == f"Cite\n\n{code}\n\n\\# and &lt;b>\n\n{code}"
    assert list(sections_of(text)) == list(sections_of(model_card(probe)))


def test_texts_keep_their_markdown():
    text = "**bold** and [a link](https://example.org/a_b)\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    assert prose(text) == text
    assert prose("one\rtwo\r\nthree") == "one\ntwo\nthree"


def test_plain_text_reads_as_it_is():
    assert MarkdownIt("commonmark").renderInline(plain("n_layers_=2 *a* _b_ \u202e[c](d)\n<e> & `f`")) == (
        "n_layers_=2 *a* _b_ [c](d) &lt;e&gt; &amp; `f`"
    )


# The file


def test_the_card_is_written_whole(probe, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before")
    assert path.read_text() == "before"
    card = model_card(probe, path, sections={"Developers": "Ärzte"})
    assert path.read_bytes() == card.encode("utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["README.md"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model_card(probe, tmp_path / "nowhere" / "README.md")


# The page that says which item of a checklist stands where


def table_of(name):
    """Items of a table of the page, and the sections named there."""
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
def test_each_item_of_a_checklist_has_its_place(probe, name, items):
    table = table_of(name)
    assert list(table) == items
    sections = {section for section, text in sections_of(model_card(probe)).items() if text}
    for item, where in table.items():
        named = [each for part in re.findall(r"Card: ([^.]*)\.", where) for each in part.split(", ")]
        assert set(named) <= sections, item
        assert named or where.startswith("Not by a model: "), item


@pytest.mark.skipif(not REPORT.exists(), reason="there is no page of the report yet")
@pytest.mark.parametrize("name", ["claim", "tripod"])
def test_sections_of_the_report_exist(name):
    headings = re.findall(r"<h[23][^>]*>([^<{]+)</h[23]>", REPORT.read_text(encoding="utf-8"))
    wheres = " ".join(table_of(name).values())
    named = {each for part in re.findall(r"Report: ([^.]*)\.", wheres) for each in part.split(", ")}
    assert named
    assert named <= set(headings)
