"""Tests of the HTML report: numbers, texts, privacy and errors."""

import hashlib
import importlib.util
import itertools
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import audit_xrays, make_chest_xrays
from skpneumo.exceptions import LeakageWarning
from skpneumo.inspection import grad_cam, image_views
from skpneumo.metrics import diagnostic_report
from skpneumo.model_selection import PatientGroupKFold, check_splits, patient_ids, patient_train_test_split
from skpneumo.reporting import model_card, report
from skpneumo.reporting._report_figures import plots, simplified
from skpneumo.reporting._report_sections import dots_of_hundred, of_hundred
from skpneumo.reporting._thumbnails import data_uri, position_of_maximum

VOID = {"meta", "link", "img", "br"}
PALETTE = ("paper", "raised", "ink", "quiet", "accent")


class Page(HTMLParser):
    """Numbers, tags, ids and text of a report."""

    def __init__(self, text):
        super().__init__()
        self.source, self.numbers, self.written, self.tags, self.ids, self.text = text, {}, {}, [], [], []
        self._open, self._data = [], None
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in VOID:
            self._open.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "data":
            assert attrs["data-name"] not in self.numbers
            self._data = attrs["data-name"]
            self.numbers[self._data] = float(attrs["value"])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag
        if tag == "data":
            self._data = None

    def handle_data(self, data):
        self.text.append(data)
        if self._data:
            self.written[self._data] = data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def prose(self):
        return " ".join("".join(self.text).split())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A model, and test images of other patients with some wrong labels, so that there are errors."""
    xrays = make_chest_xrays(80, tmp_path_factory.mktemp("study"), image_size=48, difficulty=0.6, random_state=1)
    X = [str(path) for path in xrays.data.ravel()]
    labels = np.array(["NORMAL", "PNEUMONIA"])[xrays.target]
    X_train, X_test, y_train, y_test = patient_train_test_split(X, labels, test_size=0.6, random_state=0)
    clf = PneumoniaClassifier(**QUICK, class_weight=None).fit(X_train, y_train)
    y_test = y_test.copy()
    y_test[::6] = np.where(y_test[::6] == "NORMAL", "PNEUMONIA", "NORMAL")
    return clf, X_test, y_test, X_train


def write_report(tmp_path, clf, X, y, **others):
    path = tmp_path / "report.html"
    others = {"pos_label": "PNEUMONIA", **others}
    evaluation = report(clf, X, y, path, **others)
    return Page(path.read_text("utf-8")), evaluation


@pytest.fixture(scope="module")
def page_and_evaluation(study, tmp_path_factory):
    clf, X, y, _ = study
    sites = {"site": ["north" if i % 3 else "south" for i in range(len(X))]}
    return write_report(
        tmp_path_factory.mktemp("page"), clf, X, y, subgroups=sites, prevalence=0.1, excluded={"lateral": 3}
    )


@pytest.fixture
def page(page_and_evaluation):
    return page_and_evaluation[0]


@pytest.fixture
def evaluation(page_and_evaluation):
    return page_and_evaluation[1]


@pytest.mark.parametrize("pos_label", [0, 1])
def test_report_with_target_names_equals_that_of_words(study, tmp_path, pos_label):
    clf, X, y, X_train = study
    words, y_train = clf.classes_.tolist(), clf.predict(X_train)
    with_words = clone(clf).fit(X_train, y_train)
    expected, _ = write_report(tmp_path, with_words, X, y, pos_label=words[pos_label])
    with_numbers = clone(clf).fit(X_train, clf.classes_.searchsorted(y_train))
    numbers = clf.classes_.searchsorted(y)
    page, _ = write_report(tmp_path, with_numbers, X, numbers, pos_label=pos_label, target_names=words)
    assert page.prose.replace(f"pos_label={pos_label}", f"pos_label={words[pos_label]!r}") == expected.prose
    texts = [[image["alt"] for image in each.all("img")] for each in (page, expected)]
    assert texts[0] == texts[1] != []


def test_numpy_values_in_parameters_are_shown_as_plain_python(study, tmp_path):
    clf, X, y, X_train = study
    weights = dict(zip(clf.classes_, np.array([1.0, 2.0]), strict=True))
    weighted = clone(clf).set_params(class_weight=weights, n_views=np.int64(1)).fit(X_train, clf.predict(X_train))
    page, evaluation = write_report(tmp_path, weighted, X, y, n_errors=0)
    for text in (page.prose, model_card(weighted, evaluation=evaluation)):
        assert "{'NORMAL': 1.0, 'PNEUMONIA': 2.0}" in text
        assert not re.search(r"np\.\w+\(", text)


def test_metrics_and_intervals_equal_diagnostic_report(page, study, evaluation):
    clf, X, y, _ = study
    expected = diagnostic_report(
        y, clf.predict_proba(X), threshold=0.5, groups=patient_ids(X), prevalence=0.1, pos_label="PNEUMONIA"
    )
    assert expected.n_patients == evaluation.performance.n_patients < len(X)
    for name, (estimate, lower, upper, _) in expected.figures:
        assert page.numbers[name] == pytest.approx(estimate)
        if not np.isnan(lower):
            assert [page.numbers[f"{name}.lower"], page.numbers[f"{name}.upper"]] == pytest.approx([lower, upper])
    assert page.numbers["headline.sensitivity"] == page.numbers["sensitivity"]
    assert page.numbers["headline.ppv"] == page.numbers["ppv_at_prevalence"] != page.numbers["ppv"]


def test_numbers_equal_scikit_learn(page, study):
    clf, X, y, _ = study
    positive, p = y == "PNEUMONIA", clf.predict_proba(X)[:, 1]
    predicted = p >= 0.5
    tn, fp, fn, tp = confusion_matrix(positive, predicted).ravel()
    expected = {
        "roc_auc": roc_auc_score(positive, p),
        "roc.roc_auc": roc_auc_score(positive, p),
        "average_precision": average_precision_score(positive, p),
        "brier_score": brier_score_loss(positive, p),
        "sensitivity": recall_score(positive, predicted),
        "ppv": precision_score(positive, predicted),
        "threshold.0.5.specificity": recall_score(~positive, ~predicted),
        "threshold.0.7.sensitivity": recall_score(positive, p >= 0.7),
        "threshold.0.3.ppv": precision_score(positive, p >= 0.3),
        "confusion.tp": tp,
        "confusion.fp": fp,
        "flow.tn": tn,
        "flow.fn": fn,
        "headline.n": len(y),
        "headline.share_positive": positive.mean(),
        "histogram.9.ill": np.sum(p[positive] >= 0.9),
        "histogram.0.others": np.sum(p[~positive] < 0.1),
    }
    assert {name: page.numbers[name] for name in expected} == pytest.approx(expected)


def test_calibration_bins_hold_all_images(page):
    bins = range(10)
    n = np.array([page.numbers[f"calibration.{number}.n"] for number in bins])
    frequency = np.array([page.numbers[f"calibration.{number}.ill"] for number in bins])
    assert n.sum() == page.numbers["headline.n"]
    assert frequency @ n == pytest.approx(page.numbers["flow.n_positive"])


def test_points_in_tables_of_curves_are_optimal(page, study):
    clf, X, y, _ = study
    positive, p = y == "PNEUMONIA", clf.predict_proba(X)[:, 1]
    tpr, fpr = (np.array([np.mean(p[rows] >= each) for each in [np.inf, *p]]) for rows in (positive, ~positive))
    assert page.numbers["roc.sensitivity_at_specificity_0.8"] == tpr[fpr <= 0.2].max()
    assert page.numbers["det.missed_at_false_alarms_0.1"] == pytest.approx((1 - tpr)[fpr <= 0.1].min())
    precision = np.array([precision_score(positive, p >= each) for each in p])
    assert page.numbers["precision_recall.precision_at_recall_0.9"] == precision[tpr[1:] >= 0.9].max()


def test_subgroups_equal_separate_evaluations(page, study):
    clf, X, y, _ = study
    rows = np.arange(len(X)) % 3 == 0
    expected = diagnostic_report(y[rows], clf.predict_proba(X)[rows], threshold=0.5, pos_label="PNEUMONIA")
    assert page.numbers["subgroups.site.south.n"] == rows.sum()
    for name in ("sensitivity", "specificity", "roc_auc"):
        assert page.numbers[f"subgroups.site.south.{name}"] == pytest.approx(expected[name].estimate)
        assert page.numbers[f"subgroups.site.{name}"] == page.numbers[name]


def test_formatted_numbers_equal_their_values(page):
    assert len(page.numbers) > 150
    for name, written in page.written.items():
        shown = float(written.replace("\N{NARROW NO-BREAK SPACE}", ""))
        assert shown == pytest.approx(page.numbers[name], abs=0.51 * 10.0 ** -len(written.partition(".")[2])), name


def test_the_most_confident_errors_are_shown(page, study, evaluation):
    clf, X, y, _ = study
    p = clf.predict_proba(X)[:, 1]
    false_negatives = np.flatnonzero((y == "PNEUMONIA") & (p < 0.5))
    false_positives = np.flatnonzero((y == "NORMAL") & (p >= 0.5))
    expected = [
        *false_negatives[np.argsort(p[false_negatives])][:6],
        *false_positives[np.argsort(-p[false_positives])][:6],
    ]
    assert len(expected) > 4
    shown = [name for name in page.numbers if re.fullmatch(r"failures\.\d+\.probability", name)]
    assert shown == [f"failures.{position}.probability" for position in expected]
    assert [page.numbers[name] for name in shown] == pytest.approx(p[expected])
    plain = [each["alt"] for each in page.all("img") if each["alt"].startswith("X-ray")]
    assert [alt.rsplit(": ")[-1] for alt in plain] == [Path(X[position]).name for position in expected]


def test_data_flow_counts_excluded_images(page):
    assert page.numbers["flow.considered"] == page.numbers["flow.n"] + 3
    assert page.numbers["flow.excluded.lateral"] == 3


def test_data_flow_counts_training_images(page, study):
    summary = study[0].training_summary_
    assert page.numbers["training.n_images"] == summary["n_images"]
    assert page.numbers["training.PNEUMONIA.n_patients"] == summary["n_patients_by_class"][1]


def test_report_has_no_scripts_and_no_external_resources(page):
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    links = [attrs[name] for _, attrs in page.tags for name in ("href", "src", "srcset", "action") if name in attrs]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_internal_links_have_targets(page):
    assert len(page.ids) == len(set(page.ids))
    wanted = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)|aria-labelledby="([^"]+)"', page.source)
    assert {first or second or third for first, second, third in wanted} <= set(page.ids)


def test_images_have_text_alternatives(page):
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-label"])
    assert all(img["alt"] for img in page.all("img"))


def test_report_has_language_landmarks_and_heading_levels(page):
    tags = [tag for tag, _ in page.tags]
    assert page.all("html")[0]["lang"] == "en"
    assert [tags.count(tag) for tag in ("h1", "main", "nav", "footer")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_plots_have_real_text_in_the_colors_of_the_page(page):
    pictures = re.findall(r'<svg viewBox[^>]*role="img".*?</svg>', page.source, re.DOTALL)
    assert len(pictures) >= 6
    for picture in pictures:
        assert "<text" in picture
        assert "DejaVu" not in picture
        assert not re.findall(r"(?:fill|stroke): ?#\w+", picture)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(page, scheme):
    roots = re.findall(r":root \{(.*?)\}", page.source, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", roots[["light", "dark"].index(scheme)]))

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    def contrast(first, second):
        low, high = sorted((luminance(first), luminance(second)))
        return (high + 0.05) / (low + 0.05)

    for ground in ("paper", "raised"):
        assert min(contrast(colors[name], colors[ground]) for name in ("ink", "quiet", "accent")) >= 4.5
        assert min(contrast(colors[f"series-{number}"], colors[ground]) for number in range(1, 5)) >= 3


def test_report_is_below_one_megabyte(page):
    assert len(page.source.encode()) < 1_000_000


def test_report_warns_that_it_is_a_research_tool(page):
    assert "A research tool, not a medical device." in page.prose


def test_report_contains_no_folders(page, study):
    folder = Path(study[1][0]).parent.parent
    assert folder.name not in page.source
    assert f"{folder.anchor}{folder.parts[1]}" not in page.source


def test_file_names_can_be_omitted(tmp_path, study):
    clf, X, y, X_train = study
    page, _ = write_report(
        tmp_path, clf, X, y, file_names=False, overlap=check_splits(X_train, X_train[:2]), n_errors=2
    )
    assert not [path for path in [*X, *X_train] if Path(path).name in page.source]


def test_user_texts_are_escaped(tmp_path, study):
    _, X, y, _ = study
    names = [tmp_path / f"<script>alert({i})<b>&$x_{{.png" for i in range(len(X))]
    for path, name in zip(X, names, strict=True):
        shutil.copy(path, name)
    bad = '<script>"bad"</script>$x_{'
    labels = np.where(y == "PNEUMONIA", bad, "<i>")
    fitted = PneumoniaClassifier(**QUICK).fit(names, labels)
    with pytest.warns(LeakageWarning):
        page, _ = write_report(
            tmp_path,
            fitted,
            names,
            labels,
            pos_label=bad,
            subgroups={bad: [bad, "<b>"] * (len(X) // 2) + ["<b>"] * (len(X) % 2)},
            excluded={bad: 1},
            title=bad,
            date=bad,
            threshold=0.6,
        )
    tags = {tag for tag, _ in page.tags}
    assert not {"script", "b", "i"} & tags
    assert page.prose.count(bad) > 10
    assert "<script>alert(" in page.prose


def test_equal_calls_write_equal_files(tmp_path, study):
    clf, X, y, _ = study
    first, second = (write_report(tmp_path, clf, X, y, n_errors=1)[0].source for _ in range(2))
    assert first == second


def test_matplotlib_settings_and_figures_are_unchanged(tmp_path, study):
    clf, X, y, _ = study
    before, figures = json.dumps(dict(matplotlib.rcParams), default=str), plt.get_fignums()
    write_report(tmp_path, clf, X, y, n_errors=0)
    assert json.dumps(dict(matplotlib.rcParams), default=str) == before
    assert plt.get_fignums() == figures


@pytest.mark.parametrize(
    "settings",
    [
        {"text.usetex": True},
        {"lines.linewidth": 6, "axes.labelsize": 30},
        {"savefig.bbox": "tight"},
        plt.style.library["ggplot"],
    ],
)
def test_matplotlib_settings_do_not_affect_the_report(study, evaluation, settings):
    expected = [each.svg for each in plots(evaluation, study[0])]
    with matplotlib.rc_context(settings):
        assert [each.svg for each in plots(evaluation, study[0])] == expected


def test_threads_draw_the_same_plots_and_restore_settings(study, evaluation):
    alone = plots(evaluation, study[0])
    before = json.dumps(dict(matplotlib.rcParams), default=str)
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: plots(evaluation, study[0]), range(8)))
    assert json.dumps(dict(matplotlib.rcParams), default=str) == before
    assert [[each.svg for each in drawn_plots] for drawn_plots in drawn] == [[each.svg for each in alone]] * 8


def test_leakage_is_reported(tmp_path, study):
    clf, X, y, X_train = study
    with pytest.warns(LeakageWarning, match="1 of"):
        page, _ = write_report(tmp_path, clf, [*X[:-1], X_train[0]], y, overlap=check_splits(X_train, [X_train[0]]))
    assert page.numbers["leakage.images"] == 1
    assert page.numbers["leakage.same file"] == 1
    assert "The metrics are optimistically biased." in page.prose
    assert Path(X_train[0]).name in page.prose


def test_audit_is_reported(tmp_path, study):
    clf, X, y, _ = study
    audit = audit_xrays(X, y)
    audit.loc[3, ["verdict", "auc"]] = ["suspicious", 0.875]
    page, _ = write_report(tmp_path, clf, X, y, audit=audit)
    assert page.numbers["audit.3.auc"] == 0.875
    assert str(audit.loc[3, "check"]) in page.prose


def test_novelty_is_reported(tmp_path, random):
    X, y = random.rand(300, 3), np.arange(300) % 2
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    X[200:230] += 100
    page, evaluation = write_report(tmp_path, clf, X[200:], y[200:], pos_label=1, n_errors=0)
    assert page.numbers["novelty.n"] == np.sum(evaluation.novelty <= 0.01) >= 30
    assert "About 1 % are expected" in page.prose


def test_novelty_is_not_reported_with_few_training_images(page, study):
    assert study[0].novelty(study[1]).min() > 0.01
    assert "novelty.n" not in page.numbers
    assert "on too few images for a novelty p-value of at most 0.01" in page.prose


@pytest.mark.parametrize(("named", "tested"), [(True, False), (False, True), (True, True)])
def test_patients_are_compared_only_if_both_sides_are_named(tmp_path, matrix, y, named, tested):
    patients = np.arange(40)
    clf = PneumoniaClassifier().fit(matrix, y, groups=patients if named else None)
    page, _ = write_report(tmp_path, clf, matrix, y, pos_label=1, n_errors=0, groups=patients if tested else None)
    assert page.numbers["leakage.images"] == 40
    assert page.numbers.get("leakage.patients") == (40 if named and tested else None)
    assert ("patients in the training data is not known" in page.prose) == (not (named and tested))


def test_later_calibration_does_not_record_its_images(tmp_path, random, matrix, y):
    clf = PneumoniaClassifier().fit(random.rand(40, matrix.shape[1]), y)
    later = CalibratedClassifierCV(FrozenEstimator(clf), cv=2, ensemble=False).fit(matrix, y)
    text = "such as a calibration, are not recorded"
    assert [
        text in write_report(tmp_path, each, matrix, y, pos_label=1, n_errors=0)[0].prose for each in (later, clf)
    ] == [
        True,
        False,
    ]


def test_report_on_a_model_of_features_does_not_mention_layers(tmp_path, matrix, y):
    clf = PneumoniaClassifier(n_layers=3, alpha=0.5).fit(matrix, y)
    page, _ = write_report(tmp_path, clf, matrix, y, pos_label=1, n_errors=0)
    assert "VGG19" not in page.prose
    assert "n_layers" not in page.prose
    assert "alpha" in page.prose


@pytest.mark.parametrize("excluded", [{"other view": -1, "blank": "one", "torn": 2}, 3])
def test_all_invalid_values_of_excluded_are_named(tmp_path, study, excluded):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match="'other view': -1, 'blank': 'one'" if excluded != 3 else "mapping"):
        write_report(tmp_path, clf, X, y, excluded=excluded)


@pytest.mark.parametrize(
    "given",
    [
        {"excluded": {"x": "y" * 10**6}},
        {"excluded": [f"patient-{i}.png" for i in range(10_000)]},
        {"excluded": dict.fromkeys(range(10_000), "one")},
        {"overlap": ["x"] * 10_000},
        {"overlap": "x" * 10**6},
    ],
    ids=["long word", "list", "many reasons", "many pairs", "word"],
)
def test_errors_for_data_sets_as_parameters_are_short(tmp_path, study, given):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match=next(iter(given))) as caught:
        write_report(tmp_path, clf, X, y, **given)
    assert len(str(caught.value)) < 1000


def test_error_counts_unlisted_items(tmp_path, study):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match=r"'x', 'x' and 15 more\.$"):
        write_report(tmp_path, clf, X, y, overlap=["x"] * 25)


@pytest.mark.parametrize("given", [{"overlap": ["a"]}, {"audit": [1]}, {"n_errors": -1}])
def test_invalid_parameters_raise(tmp_path, study, given):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match=next(iter(given))):
        write_report(tmp_path, clf, X, y, **given)


def test_more_than_two_classes_raise(tmp_path, matrix):
    clf = PneumoniaClassifier(**QUICK).fit(matrix, np.arange(40) % 3)
    with pytest.raises(ValueError, match=r"binary classifier; got 3 classes: 0, 1, 2\."):
        report(clf, matrix, np.arange(40) % 3, tmp_path / "report.html")


class NeverPredicts(GaussianNB):
    """Classifier whose predict_proba must not be called."""

    def predict_proba(self, X):
        raise AssertionError


def test_missing_folder_raises_before_prediction(tmp_path, matrix, y):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report(NeverPredicts().fit(matrix, y), matrix, y, tmp_path / "none" / "report.html")


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_missing_package_raises_before_prediction(tmp_path, matrix, y, monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each == name else found(each))
    with pytest.raises(ImportError, match=rf"{name}.*skpneumo\[report\]"):
        report(NeverPredicts().fit(matrix, y), matrix, y, tmp_path / "report.html")


def test_existing_file_is_kept_if_writing_fails(tmp_path, matrix, y, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        report(GaussianNB().fit(matrix, y), matrix, y, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


class PredictsFeature(GaussianNB):
    """Classifier that predicts its only feature as the probability."""

    def predict_proba(self, X):
        return np.column_stack([1 - X[:, 0], X[:, 0]])


def report_on_probabilities(tmp_path, p, y, **others):
    p = np.asarray(p, float)[:, np.newaxis]
    return write_report(tmp_path, PredictsFeature().fit([[0], [1]], [0, 1]), p, np.asarray(y), pos_label=1, **others)[0]


def test_proportions_of_fewer_than_100_images_are_counts(tmp_path):
    page = report_on_probabilities(tmp_path, [0.9] * 18 + [0.1] * 299 + [0.9], [1] * 18 + [0] * 300)
    assert re.search(r"Of 18 positive images, 18 are predicted positive\.", page.prose)
    assert re.search(r"Of 100 negative images, more than 99 are predicted negative \(299 of 300\)\.", page.prose)
    drawn = [attrs["d"].count("M") for _, attrs in page.tags if attrs.get("class") in ("full", "empty")]
    assert drawn == [18, 0, 99, 1]


def test_proportion_of_a_single_image_is_a_count(tmp_path):
    page = report_on_probabilities(tmp_path, [0.1, 0.2, 0.9], [1, 0, 0])
    assert re.search(r"Of 1 positive image, 0 are predicted positive\.", page.prose)
    assert re.search(r"Of 2 negative images, 1 is predicted negative\.", page.prose)
    assert "Metrics that are computed from a single image have no interval" in page.prose


def test_single_patient_has_no_intervals(tmp_path):
    page = report_on_probabilities(tmp_path, [0.1, 0.8, 0.3, 0.9], [1, 0, 0, 1], groups=[7] * 4)
    assert "There are no confidence intervals, since they require more than one patient" in page.prose
    assert "in parentheses" not in page.prose
    assert "Intervals account" not in page.prose


@pytest.mark.parametrize("threshold", [0.0002, 1e-5, 0.99996])
def test_threshold_near_0_or_1_is_not_rounded_to_it(tmp_path, threshold):
    page = report_on_probabilities(tmp_path, [0.1, 0.8, 0.3, 0.9], [1, 0, 0, 1], threshold=threshold)
    assert float(page.written["headline.threshold"]) == page.numbers["headline.threshold"] == threshold
    assert f"{threshold:.6g} (operating point)" in page.prose


def test_operating_point_has_one_row_in_the_table_of_thresholds(tmp_path):
    page = report_on_probabilities(tmp_path, [0.1, 0.8, 0.3, 0.9], [1, 0, 0, 1], threshold=0.50004)
    assert page.prose.count("0.5 (operating point)") == 1
    assert len({name.split(".sens")[0] for name in page.numbers if re.match(r"threshold\..*\.sensitivity$", name)}) == 9


def test_report_on_features_has_no_images(tmp_path, matrix, y):
    clf = PneumoniaClassifier(**QUICK).fit(matrix, y)
    with pytest.warns(LeakageWarning):
        page, _ = write_report(tmp_path, clf, matrix, 1 - y, pos_label=1)
    assert not page.all("img")
    assert "patients are not known" in page.prose
    assert "image 0" in page.prose


def test_perfect_classifier_gives_a_report(tmp_path, matrix, y):
    page, evaluation = write_report(tmp_path, KNeighborsClassifier(1).fit(matrix, y), matrix, y, pos_label=1)
    assert evaluation.performance["roc_auc"].estimate == 1
    assert "Not drawn" in page.prose
    assert "infinite" in page.prose
    assert page.all("div")


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_of_0_and_1_give_a_report(tmp_path, study, threshold):
    clf, X, y, _ = study
    page, _ = write_report(tmp_path, clf, X, y, threshold=threshold, n_errors=0)
    assert page.numbers["sensitivity"] == 1 - threshold
    assert "not defined" in page.prose
    assert "stated by the author" in page.prose


WRAPPED = {
    "set by the developers of the model with FixedThresholdClassifier": lambda clf: FixedThresholdClassifier(
        clf, threshold=0.6, response_method="predict_proba"
    ),
    "the class with the higher probability": lambda clf: CalibratedClassifierCV(clf, cv=PatientGroupKFold(2)),
    "the default: the class": lambda clf: GridSearchCV(
        clf.set_params(class_weight=None), {"alpha": [0.05, 0.5]}, cv=PatientGroupKFold(2)
    ),
}


@pytest.mark.parametrize("source", WRAPPED)
def test_wrapped_classifiers_give_a_report(tmp_path, study, clf, source):
    _, X, y, X_train = study
    y_train = np.where(["person" in path for path in X_train], "PNEUMONIA", "NORMAL")
    wrapped = WRAPPED[source](clf).fit(X_train, y_train)
    page, _ = write_report(tmp_path, wrapped, X, y, n_errors=1)
    assert source in page.prose
    assert f"{type(wrapped).__name__} around PneumoniaClassifier" in page.prose
    assert page.all("img")


def test_training_curves_are_shown_after_training_in_epochs(tmp_path, study):
    _, X, y, X_train = study
    y_train = np.where(["person" in path for path in X_train], 1, 0)
    clf = PneumoniaClassifier(**QUICK, hidden_layer_sizes=2, max_iter=3, early_stopping=True, random_state=0).fit(
        X_train, y_train
    )
    page, _ = write_report(tmp_path, clf, X, (y == "PNEUMONIA").astype(int), pos_label=1, n_errors=0)
    assert page.numbers["training.loss.training.first"] == clf.loss_curve_[0]
    assert page.numbers["training.accuracy.training.last"] == clf.accuracy_curve_[-1]
    assert page.numbers["training.loss.held_out.best"] == -max(clf.validation_scores_)
    assert page.numbers["training.loss.held_out.best_epoch"] == clf.best_iter_


def test_non_default_parameters_are_shown_without_folders(tmp_path, study):
    clf, X, y, _ = study
    model_file = tmp_path / "model.joblib"
    model_file.write_bytes(b"a model")
    page, _ = write_report(tmp_path, clf, X, y, n_errors=0, model_file=model_file)
    assert [name for name in TINY if name not in page.prose] == []
    assert hashlib.sha256(b"a model").hexdigest() in page.prose
    assert str(tmp_path) not in page.source


def test_code_in_the_report_reproduces_the_metrics(page, study, evaluation):
    clf, X, y, _ = study
    code = page.prose[page.prose.index("metrics = DiagnosticReport") : page.prose.index("print(metrics)")]
    names = {"clf": clf, "X": X, "y": y}
    exec(f"from skpneumo.metrics import DiagnosticReport\n{code}", names)
    assert names["metrics"].to_dict() == evaluation.performance.to_dict()


@pytest.mark.parametrize(
    ("at", "position"), [((0, 0), "upper left"), ((5, 5), "center"), ((8, 4), "lower center"), ((4, 8), "middle right")]
)
def test_position_of_heat_map_maximum_in_words(at, position):
    heat = np.zeros((9, 9))
    heat[at] = 1
    assert position_of_maximum(heat) == position
    assert position_of_maximum(heat - 1) is None


def test_images_have_heat_maps(page):
    alts = [img["alt"] for img in page.all("img")]
    assert all(alt.startswith("X-ray labeled") for alt in alts[::2])
    assert all(re.match("Heat map over .*: (maximum|no region)", alt) for alt in alts[1::2])
    assert len(alts) % 2 == 0


def test_heat_map_maximum_equals_grad_cam(page, study):
    clf, X, _, _ = study
    heat = {name: value for name, value in page.numbers.items() if name.endswith(".warmest")}
    assert heat
    for name, value in heat.items():
        image = X[int(name.split(".")[1])]
        expected = grad_cam(clf, [image], class_of_interest="PNEUMONIA", coordinates="grid").max()
        assert value == pytest.approx(expected, rel=1e-9)


def test_pipeline_on_features_shows_images_without_heat_maps(tmp_path, study, features):
    _, X, y, X_train = study
    clf = PneumoniaClassifier(**QUICK).fit(features.fit_transform(X_train), ["person" in path for path in X_train])
    page, _ = write_report(tmp_path, clf, X, y == "PNEUMONIA", pos_label=True, n_errors=1)
    assert [img["alt"].split()[0] for img in page.all("img")] == ["X-ray", "X-ray"]


SHAPE = {"aspect": "pad", "contrast": "equalize"}


@pytest.mark.parametrize(
    "clf",
    [
        make_pipeline(VGG19Features(**TINY, **SHAPE), GaussianNB()),
        make_pipeline(VGG19Features(**TINY, **SHAPE), PneumoniaClassifier(**QUICK)),
        CalibratedClassifierCV(PneumoniaClassifier(**QUICK, **SHAPE), cv=2),
    ],
)
def test_images_are_shown_preprocessed(tmp_path, study, clf):
    _, X, y, X_train = study
    clf.fit(X_train, ["person" in path for path in X_train])
    page, evaluation = write_report(tmp_path, clf, X, y == "PNEUMONIA", pos_label=True, n_errors=1)
    false_negatives = np.flatnonzero(evaluation.y & ~evaluation.predicted_positive)
    most_confident = X[false_negatives[evaluation.proba[false_negatives].argmin()]]
    assert data_uri(image_views([most_confident], n_views=1, image_size=192, **SHAPE)[0, 0]) in page.source


def test_simplified_curve_is_close_to_the_original(random):
    x = np.sort(random.uniform(size=5000))
    y = np.round(x**0.3, 3)
    kept = simplified(x, y)
    assert len(kept) <= 200
    across, along = np.interp(x, x[kept], y[kept]) - y, np.interp(y, y[kept], x[kept]) - x
    assert np.minimum(np.abs(across), np.abs(along)).max() < 0.005


@pytest.mark.parametrize(
    ("proportion", "text"), [(1.0, "100"), (0.999, "more than 99"), (0.004, "fewer than 1"), (0, "0"), (0.954, "95")]
)
def test_numbers_out_of_100_are_0_or_100_only_if_exact(proportion, text):
    assert of_hundred(proportion) == text


@pytest.mark.parametrize(("proportion", "n_filled"), [(1.0, 100), (0.996, 99), (0.004, 1), (0, 0), (0.957, 96)])
def test_all_dots_are_filled_only_if_exact(proportion, n_filled):
    assert dots_of_hundred(proportion) == n_filled
