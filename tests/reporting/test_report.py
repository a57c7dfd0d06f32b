"""The page about a model: what it says, what it must not say, and when it is not written."""

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

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import audit_xrays, make_chest_xrays
from skpneumo.exceptions import LeakageWarning
from skpneumo.inspection import grad_cam, image_views
from skpneumo.metrics import diagnostic_report
from skpneumo.model_selection import PatientGroupKFold, check_splits, patient_ids, patient_train_test_split
from skpneumo.reporting import report
from skpneumo.reporting._report_figures import pictures, thinned
from skpneumo.reporting._report_sections import dots_of_hundred, of_hundred
from skpneumo.reporting._thumbnails import data_uri, place_of_most

VOID = {"meta", "link", "img", "br"}
PALETTE = ("paper", "raised", "ink", "quiet", "accent")


class Page(HTMLParser):
    """What a page holds."""

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
    """A model and test images of other patients, some labels of which are wrong, so that there are errors."""
    films = make_chest_xrays(80, tmp_path_factory.mktemp("study"), image_size=48, difficulty=0.6, random_state=1)
    X = [str(path) for path in films.data.ravel()]
    labels = np.array(["NORMAL", "PNEUMONIA"])[films.target]
    X_train, X_test, y_train, y_test = patient_train_test_split(X, labels, test_size=0.6, random_state=0)
    clf = PneumoniaClassifier(**TINY).fit(X_train, y_train)
    y_test = y_test.copy()
    y_test[::6] = np.where(y_test[::6] == "NORMAL", "PNEUMONIA", "NORMAL")
    return clf, X_test, y_test, X_train


def made(tmp_path, clf, X, y, **others):
    path = tmp_path / "report.html"
    others = {"pos_label": "PNEUMONIA", **others}
    evaluation = report(clf, X, y, path, **others)
    return Page(path.read_text("utf-8")), evaluation


@pytest.fixture(scope="module")
def page_and_evaluation(study, tmp_path_factory):
    clf, X, y, _ = study
    sites = {"site": ["north" if i % 3 else "south" for i in range(len(X))]}
    return made(tmp_path_factory.mktemp("page"), clf, X, y, subgroups=sites, prevalence=0.1, excluded={"lateral": 3})


@pytest.fixture
def page(page_and_evaluation):
    return page_and_evaluation[0]


@pytest.fixture
def evaluation(page_and_evaluation):
    return page_and_evaluation[1]


def test_figures_and_limits_are_those_of_the_diagnostic_report(page, study, evaluation):
    clf, X, y, _ = study
    figures = diagnostic_report(
        y, clf.predict_proba(X), threshold=0.5, groups=patient_ids(X), prevalence=0.1, pos_label="PNEUMONIA"
    )
    assert figures.n_patients == evaluation.performance.n_patients < len(X)
    for name, (estimate, lower, upper, _) in figures.figures:
        assert page.numbers[name] == pytest.approx(estimate)
        if not np.isnan(lower):
            assert [page.numbers[f"{name}.lower"], page.numbers[f"{name}.upper"]] == pytest.approx([lower, upper])
    assert page.numbers["headline.sensitivity"] == page.numbers["sensitivity"]
    assert page.numbers["headline.ppv"] == page.numbers["ppv_at_prevalence"] != page.numbers["ppv"]


def test_numbers_are_those_of_scikit_learn(page, study):
    clf, X, y, _ = study
    ill, p = y == "PNEUMONIA", clf.predict_proba(X)[:, 1]
    called = p >= 0.5
    tn, fp, fn, tp = confusion_matrix(ill, called).ravel()
    expected = {
        "roc_auc": roc_auc_score(ill, p),
        "roc.roc_auc": roc_auc_score(ill, p),
        "average_precision": average_precision_score(ill, p),
        "brier_score": brier_score_loss(ill, p),
        "sensitivity": recall_score(ill, called),
        "ppv": precision_score(ill, called),
        "threshold.0.5.specificity": recall_score(~ill, ~called),
        "threshold.0.7.sensitivity": recall_score(ill, p >= 0.7),
        "threshold.0.3.ppv": precision_score(ill, p >= 0.3),
        "confusion.tp": tp,
        "confusion.fp": fp,
        "flow.tn": tn,
        "flow.fn": fn,
        "headline.n": len(y),
        "headline.share_positive": ill.mean(),
        "histogram.9.ill": np.sum(p[ill] >= 0.9),
        "histogram.0.others": np.sum(p[~ill] < 0.1),
    }
    assert {name: page.numbers[name] for name in expected} == pytest.approx(expected)


def test_bins_of_the_calibration_hold_all_images(page):
    bins = range(10)
    n = np.array([page.numbers[f"calibration.{number}.n"] for number in bins])
    ill = np.array([page.numbers[f"calibration.{number}.ill"] for number in bins])
    assert n.sum() == page.numbers["headline.n"]
    assert ill @ n == pytest.approx(page.numbers["flow.n_positive"])


def test_best_points_of_curves_exist(page, study):
    clf, X, y, _ = study
    ill, p = y == "PNEUMONIA", clf.predict_proba(X)[:, 1]
    tpr, fpr = (np.array([np.mean(p[rows] >= each) for each in [np.inf, *p]]) for rows in (ill, ~ill))
    assert page.numbers["roc.sensitivity_at_specificity_0.8"] == tpr[fpr <= 0.2].max()
    assert page.numbers["det.missed_at_false_alarms_0.1"] == pytest.approx((1 - tpr)[fpr <= 0.1].min())
    precision = np.array([precision_score(ill, p >= each) for each in p])
    assert page.numbers["precision_recall.precision_at_recall_0.9"] == precision[tpr[1:] >= 0.9].max()


def test_subgroups_are_judged_as_if_by_themselves(page, study):
    clf, X, y, _ = study
    rows = np.arange(len(X)) % 3 == 0
    figures = diagnostic_report(y[rows], clf.predict_proba(X)[rows], threshold=0.5, pos_label="PNEUMONIA")
    assert page.numbers["subgroups.site.south.n"] == rows.sum()
    for name in ("sensitivity", "specificity", "roc_auc"):
        assert page.numbers[f"subgroups.site.south.{name}"] == pytest.approx(figures[name].estimate)
        assert page.numbers[f"subgroups.site.{name}"] == page.numbers[name]


def test_what_is_read_is_what_a_number_holds(page):
    assert len(page.numbers) > 150
    for name, written in page.written.items():
        shown = float(written.replace("\N{NARROW NO-BREAK SPACE}", ""))
        assert shown == pytest.approx(page.numbers[name], abs=0.51 * 10.0 ** -len(written.partition(".")[2])), name


def test_the_most_confident_errors_are_shown(page, study, evaluation):
    clf, X, y, _ = study
    p = clf.predict_proba(X)[:, 1]
    missed = np.flatnonzero((y == "PNEUMONIA") & (p < 0.5))
    alarms = np.flatnonzero((y == "NORMAL") & (p >= 0.5))
    expected = [*missed[np.argsort(p[missed])][:6], *alarms[np.argsort(-p[alarms])][:6]]
    assert len(expected) > 4
    shown = [name for name in page.numbers if re.fullmatch(r"failures\.\d+\.probability", name)]
    assert shown == [f"failures.{position}.probability" for position in expected]
    assert [page.numbers[name] for name in shown] == pytest.approx(p[expected])
    plain = [each["alt"] for each in page.all("img") if each["alt"].startswith("Film")]
    assert [alt.rsplit(": ")[-1] for alt in plain] == [Path(X[position]).name for position in expected]


def test_the_flow_counts_what_was_left_out(page):
    assert page.numbers["flow.considered"] == page.numbers["flow.n"] + 3
    assert page.numbers["flow.excluded.lateral"] == 3


def test_the_flow_tells_of_the_training(page, study):
    summary = study[0].training_summary_
    assert page.numbers["training.n_images"] == summary["n_images"]
    assert page.numbers["training.PNEUMONIA.n_patients"] == summary["n_patients_by_class"][1]


def test_the_page_is_one_file_without_script_and_network(page):
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    links = [attrs[name] for _, attrs in page.tags for name in ("href", "src", "srcset", "action") if name in attrs]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_links_within_the_page_lead_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    wanted = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)|aria-labelledby="([^"]+)"', page.source)
    assert {first or second or third for first, second, third in wanted} <= set(page.ids)


def test_pictures_say_what_is_to_be_seen(page):
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-label"])
    assert all(img["alt"] for img in page.all("img"))


def test_the_page_has_a_language_landmarks_and_one_heading_of_all(page):
    tags = [tag for tag, _ in page.tags]
    assert page.all("html")[0]["lang"] == "en"
    assert [tags.count(tag) for tag in ("h1", "main", "nav", "footer")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_text_in_pictures_is_text_in_the_inks_of_the_page(page):
    pictures = re.findall(r'<svg viewBox[^>]*role="img".*?</svg>', page.source, re.DOTALL)
    assert len(pictures) >= 6
    for picture in pictures:
        assert "<text" in picture
        assert "DejaVu" not in picture
        assert not re.findall(r"(?:fill|stroke): ?#\w+", picture)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(page, scheme):
    roots = re.findall(r":root \{(.*?)\}", page.source, re.DOTALL)
    inks = dict(re.findall(r"--([\w-]+): (#\w{6})", roots[["light", "dark"].index(scheme)]))

    def luminance(ink):
        parts = np.array([int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    def contrast(first, second):
        low, high = sorted((luminance(first), luminance(second)))
        return (high + 0.05) / (low + 0.05)

    for ground in ("paper", "raised"):
        assert min(contrast(inks[ink], inks[ground]) for ink in ("ink", "quiet", "accent")) >= 4.5
        assert min(contrast(inks[f"series-{number}"], inks[ground]) for number in range(1, 5)) >= 3


def test_the_page_is_small(page):
    assert len(page.source.encode()) < 1_000_000


def test_the_page_is_a_research_tool_in_sight(page):
    assert "A research tool, not a medical device." in page.prose


def test_folders_are_not_on_the_page(page, study):
    folder = Path(study[1][0]).parent.parent
    assert folder.name not in page.source
    assert f"{folder.anchor}{folder.parts[1]}" not in page.source


def test_names_of_files_can_be_left_out(tmp_path, study):
    clf, X, y, X_train = study
    page, _ = made(tmp_path, clf, X, y, file_names=False, overlap=check_splits(X_train, X_train[:2]), n_errors=2)
    assert not [path for path in [*X, *X_train] if Path(path).name in page.source]


def test_what_users_write_is_text_and_not_markup(tmp_path, study):
    _, X, y, _ = study
    names = [tmp_path / f"<script>alert({i})<b>&$x_{{.png" for i in range(len(X))]
    for path, name in zip(X, names, strict=True):
        shutil.copy(path, name)
    bad = '<script>"ill"</script>$x_{'
    labels = np.where(y == "PNEUMONIA", bad, "<i>")
    fitted = PneumoniaClassifier(**TINY).fit(names, labels)
    with pytest.warns(LeakageWarning):
        page, _ = made(
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


def test_the_same_call_writes_the_same_bytes(tmp_path, study):
    clf, X, y, _ = study
    first, second = (made(tmp_path, clf, X, y, n_errors=1)[0].source for _ in range(2))
    assert first == second


def test_settings_and_figures_of_matplotlib_stay_as_they_are(tmp_path, study):
    clf, X, y, _ = study
    before, figures = json.dumps(dict(matplotlib.rcParams), default=str), plt.get_fignums()
    made(tmp_path, clf, X, y, n_errors=0)
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
def test_what_users_set_of_matplotlib_does_not_change_the_page(study, evaluation, settings):
    expected = [each.svg for each in pictures(evaluation, study[0])]
    with matplotlib.rc_context(settings):
        assert [each.svg for each in pictures(evaluation, study[0])] == expected


def test_threads_draw_what_one_draws_and_leave_settings_as_they_are(study, evaluation):
    alone = pictures(evaluation, study[0])
    before = json.dumps(dict(matplotlib.rcParams), default=str)
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(lambda _: pictures(evaluation, study[0]), range(8)))
    assert json.dumps(dict(matplotlib.rcParams), default=str) == before
    assert [[each.svg for each in those] for those in drawn] == [[each.svg for each in alone]] * 8


def test_what_the_model_knew_is_told(tmp_path, study):
    clf, X, y, X_train = study
    with pytest.warns(LeakageWarning, match="1 of"):
        page, _ = made(tmp_path, clf, [*X[:-1], X_train[0]], y, overlap=check_splits(X_train, [X_train[0]]))
    assert page.numbers["leakage.images"] == 1
    assert page.numbers["leakage.same file"] == 1
    assert "The figures flatter it." in page.prose
    assert Path(X_train[0]).name in page.prose


def test_the_audit_is_on_the_page(tmp_path, study):
    clf, X, y, _ = study
    audit = audit_xrays(X, y)
    audit.loc[3, ["verdict", "auc"]] = ["suspicious", 0.875]
    page, _ = made(tmp_path, clf, X, y, audit=audit)
    assert page.numbers["audit.3.auc"] == 0.875
    assert str(audit.loc[3, "check"]) in page.prose


def test_novelty_is_counted_and_compared(tmp_path, random):
    X, y = random.rand(300, 3), np.arange(300) % 2
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    X[200:230] += 100
    page, evaluation = made(tmp_path, clf, X[200:], y[200:], pos_label=1, n_errors=0)
    assert page.numbers["novelty.n"] == np.sum(evaluation.novelty <= 0.01) >= 30
    assert "about 1 % would" in page.prose


def test_novelty_is_not_counted_where_nothing_can_be_novel(page, study):
    assert study[0].novelty(study[1]).min() > 0.01
    assert "novelty.n" not in page.numbers
    assert "on too few images to give a novelty p-value of at most 0.01" in page.prose


@pytest.mark.parametrize(("named", "tested"), [(True, False), (False, True), (True, True)])
def test_patients_count_only_where_both_sides_have_names(tmp_path, matrix, y, named, tested):
    patients = np.arange(40)
    clf = PneumoniaClassifier().fit(matrix, y, groups=patients if named else None)
    page, _ = made(tmp_path, clf, matrix, y, pos_label=1, n_errors=0, groups=patients if tested else None)
    assert page.numbers["leakage.images"] == 40
    assert page.numbers.get("leakage.patients") == (40 if named and tested else None)
    assert ("Of how many a patient was is not known" in page.prose) == (not (named and tested))


def test_a_calibration_that_came_later_remembers_nothing(tmp_path, random, matrix, y):
    clf = PneumoniaClassifier().fit(random.rand(40, matrix.shape[1]), y)
    later = CalibratedClassifierCV(FrozenEstimator(clf), cv=2, ensemble=False).fit(matrix, y)
    said = "such as a calibration, does not remember its images"
    assert [said in made(tmp_path, each, matrix, y, pos_label=1, n_errors=0)[0].prose for each in (later, clf)] == [
        True,
        False,
    ]


def test_a_model_of_features_says_nothing_of_layers(tmp_path, matrix, y):
    clf = PneumoniaClassifier(n_layers=3, alpha=0.5).fit(matrix, y)
    page, _ = made(tmp_path, clf, matrix, y, pos_label=1, n_errors=0)
    assert "VGG19" not in page.prose
    assert "n_layers" not in page.prose
    assert "alpha" in page.prose


@pytest.mark.parametrize("excluded", [{"other view": -1, "blank": "one", "torn": 2}, 3])
def test_all_that_cannot_be_left_out_is_named(tmp_path, study, excluded):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match="'other view': -1, 'blank': 'one'" if excluded != 3 else "mapping"):
        made(tmp_path, clf, X, y, excluded=excluded)


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
def test_a_data_set_in_the_wrong_place_is_not_repeated_at_length(tmp_path, study, given):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match=next(iter(given))) as caught:
        made(tmp_path, clf, X, y, **given)
    assert len(str(caught.value)) < 1000


def test_those_that_are_not_named_are_counted(tmp_path, study):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match=r"'x', 'x' and 15 more\.$"):
        made(tmp_path, clf, X, y, overlap=["x"] * 25)


@pytest.mark.parametrize("given", [{"overlap": ["a"]}, {"audit": [1]}, {"n_errors": -1}])
def test_parameters_of_another_kind_are_refused(tmp_path, study, given):
    clf, X, y, _ = study
    with pytest.raises(ValueError, match=next(iter(given))):
        made(tmp_path, clf, X, y, **given)


def test_more_than_two_labels_are_refused(tmp_path, matrix):
    clf = PneumoniaClassifier(**TINY).fit(matrix, np.arange(40) % 3)
    with pytest.raises(ValueError, match="two labels; this one has 3"):
        report(clf, matrix, np.arange(40) % 3, tmp_path / "report.html")


class Unasked(GaussianNB):
    """Must not be asked."""

    def predict_proba(self, X):
        raise AssertionError


def test_a_missing_folder_is_told_before_images_are_judged(tmp_path, matrix, y):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report(Unasked().fit(matrix, y), matrix, y, tmp_path / "none" / "report.html")


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_package_is_told_before_images_are_judged(tmp_path, matrix, y, monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda each: None if each == name else found(each))
    with pytest.raises(ImportError, match=rf"{name}.*skpneumo\[report\]"):
        report(Unasked().fit(matrix, y), matrix, y, tmp_path / "report.html")


def test_what_was_there_stays_where_the_page_cannot_be_made(tmp_path, matrix, y, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        report(GaussianNB().fit(matrix, y), matrix, y, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


class Stated(GaussianNB):
    """Says of each image what stands in it."""

    def predict_proba(self, X):
        return np.column_stack([1 - X[:, 0], X[:, 0]])


def stated(tmp_path, p, y, **others):
    p = np.asarray(p, float)[:, np.newaxis]
    return made(tmp_path, Stated().fit([[0], [1]], [0, 1]), p, np.asarray(y), pos_label=1, **others)[0]


def test_fewer_than_a_hundred_images_are_counted(tmp_path):
    page = stated(tmp_path, [0.9] * 18 + [0.1] * 299 + [0.9], [1] * 18 + [0] * 300)
    assert re.search(r"Of 18 images of the ill, ?18 are called ill\.", page.prose)
    assert re.search(r"Of 100 images of the others, ?more than 99 are called not ill\.", page.prose)
    drawn = [attrs["d"].count("M") for _, attrs in page.tags if attrs.get("class") in ("full", "empty")]
    assert drawn == [18, 0, 99, 1]


def test_a_single_image_is_not_said_of_a_hundred(tmp_path):
    page = stated(tmp_path, [0.1, 0.2, 0.9], [1, 0, 0])
    assert re.search(r"Of 1 image of the ill, ?0 are called ill", page.prose)
    assert re.search(r"Of 2 images of the others, ?1 is called not ill", page.prose)
    assert "Figures of a single image have none" in page.prose


def test_a_single_patient_has_no_intervals_and_the_page_says_why(tmp_path):
    page = stated(tmp_path, [0.1, 0.8, 0.3, 0.9], [1, 0, 0, 1], groups=[7] * 4)
    assert "There are no intervals: a single patient does not tell" in page.prose
    assert "In brackets" not in page.prose
    assert "Intervals allow" not in page.prose


@pytest.mark.parametrize("threshold", [0.0002, 1e-5, 0.99996])
def test_a_threshold_near_an_end_is_not_said_to_be_there(tmp_path, threshold):
    page = stated(tmp_path, [0.1, 0.8, 0.3, 0.9], [1, 0, 0, 1], threshold=threshold)
    assert float(page.written["headline.threshold"]) == page.numbers["headline.threshold"] == threshold
    assert f"{threshold:.6g} (in use)" in page.prose


def test_a_threshold_has_one_row_in_the_table_of_thresholds(tmp_path):
    page = stated(tmp_path, [0.1, 0.8, 0.3, 0.9], [1, 0, 0, 1], threshold=0.50004)
    assert page.prose.count("0.5 (in use)") == 1
    assert len({name.split(".sens")[0] for name in page.numbers if re.match(r"threshold\..*\.sensitivity$", name)}) == 9


def test_features_give_a_page_without_films(tmp_path, matrix, y):
    clf = PneumoniaClassifier(**TINY).fit(matrix, y)
    with pytest.warns(LeakageWarning):
        page, _ = made(tmp_path, clf, matrix, 1 - y, pos_label=1)
    assert not page.all("img")
    assert "patients are not known" in page.prose
    assert "image 0" in page.prose


def test_classes_that_are_told_apart_without_error_give_a_page(tmp_path, matrix, y):
    page, evaluation = made(tmp_path, KNeighborsClassifier(1).fit(matrix, y), matrix, y, pos_label=1)
    assert evaluation.performance["roc_auc"].estimate == 1
    assert "Not drawn" in page.prose
    assert "infinite" in page.prose
    assert page.all("div")


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends_give_a_page(tmp_path, study, threshold):
    clf, X, y, _ = study
    page, _ = made(tmp_path, clf, X, y, threshold=threshold, n_errors=0)
    assert page.numbers["sensitivity"] == 1 - threshold
    assert "not defined" in page.prose
    assert "stated by the author" in page.prose


WRAPPED = {
    "fixed by FixedThresholdClassifier": lambda clf: FixedThresholdClassifier(
        clf, threshold=0.6, response_method="predict_proba"
    ),
    "the more probable class is called": lambda clf: CalibratedClassifierCV(clf, cv=PatientGroupKFold(2)),
    "which is the default": lambda clf: GridSearchCV(clf, {"alpha": [0.05, 0.5]}, cv=PatientGroupKFold(2)),
}


@pytest.mark.parametrize("source", WRAPPED)
def test_wrapped_classifiers_are_judged(tmp_path, study, clf, source):
    _, X, y, X_train = study
    y_train = np.where(["person" in path for path in X_train], "PNEUMONIA", "NORMAL")
    wrapped = WRAPPED[source](clf).fit(X_train, y_train)
    page, _ = made(tmp_path, wrapped, X, y, n_errors=1)
    assert source in page.prose
    assert f"{type(wrapped).__name__} around PneumoniaClassifier" in page.prose
    assert page.all("img")


def test_epochs_are_drawn_where_there_were_some(tmp_path, study):
    _, X, y, X_train = study
    y_train = np.where(["person" in path for path in X_train], 1, 0)
    clf = PneumoniaClassifier(**TINY, hidden_layer_sizes=2, max_iter=3, early_stopping=True, random_state=0).fit(
        X_train, y_train
    )
    page, _ = made(tmp_path, clf, X, (y == "PNEUMONIA").astype(int), pos_label=1, n_errors=0)
    assert page.numbers["training.loss.training.first"] == clf.loss_curve_[0]
    assert page.numbers["training.accuracy.training.last"] == clf.accuracy_curve_[-1]
    assert page.numbers["training.loss.held_out.best"] == -max(clf.validation_scores_)
    assert page.numbers["training.loss.held_out.best_epoch"] == clf.best_iter_


def test_parameters_that_are_not_the_default_are_told_without_folders(tmp_path, study):
    clf, X, y, _ = study
    model_file = tmp_path / "model.joblib"
    model_file.write_bytes(b"a model")
    page, _ = made(tmp_path, clf, X, y, n_errors=0, model_file=model_file)
    assert [name for name in TINY if name not in page.prose] == []
    assert hashlib.sha256(b"a model").hexdigest() in page.prose
    assert str(tmp_path) not in page.source


def test_code_of_the_page_gives_its_figures(page, study, evaluation):
    clf, X, y, _ = study
    code = page.prose[page.prose.index("figures = DiagnosticReport") : page.prose.index("print(figures)")]
    names = {"clf": clf, "X": X, "y": y}
    exec(f"from skpneumo.metrics import DiagnosticReport\n{code}", names)
    assert names["figures"].to_dict() == evaluation.performance.to_dict()


@pytest.mark.parametrize(
    ("at", "said"), [((0, 0), "upper left"), ((5, 5), "centre"), ((8, 4), "lower centre"), ((4, 8), "middle right")]
)
def test_the_place_of_a_heat_map_is_said_in_words(at, said):
    heat = np.zeros((9, 9))
    heat[at] = 1
    assert place_of_most(heat) == said
    assert place_of_most(heat - 1) is None


def test_films_have_heat_maps_beside_them(page):
    alts = [img["alt"] for img in page.all("img")]
    assert all(alt.startswith("Film labelled") for alt in alts[::2])
    assert all(re.match("Heat map over .*: (strongest|nothing)", alt) for alt in alts[1::2])
    assert len(alts) % 2 == 0


def test_heat_is_that_of_grad_cam(page, study):
    clf, X, _, _ = study
    heat = {name: value for name, value in page.numbers.items() if name.endswith(".warmest")}
    assert heat
    for name, value in heat.items():
        film = X[int(name.split(".")[1])]
        expected = grad_cam(clf, [film], class_of_interest="PNEUMONIA", coordinates="grid").max()
        assert value == pytest.approx(expected, rel=1e-9)


def test_a_model_of_features_shows_films_without_heat_maps(tmp_path, study, features):
    _, X, y, X_train = study
    clf = PneumoniaClassifier(**TINY).fit(features.fit_transform(X_train), ["person" in path for path in X_train])
    page, _ = made(tmp_path, clf, X, y == "PNEUMONIA", pos_label=True, n_errors=1)
    assert [img["alt"].split()[0] for img in page.all("img")] == ["Film", "Film"]


SHAPE = {"aspect": "pad", "contrast": "equalize"}


@pytest.mark.parametrize(
    "clf",
    [
        make_pipeline(VGG19Features(**TINY, **SHAPE), GaussianNB()),
        make_pipeline(VGG19Features(**TINY, **SHAPE), PneumoniaClassifier(**TINY)),
        CalibratedClassifierCV(PneumoniaClassifier(**TINY, **SHAPE), cv=2),
    ],
)
def test_films_are_as_the_network_sees_them(tmp_path, study, clf):
    _, X, y, X_train = study
    clf.fit(X_train, ["person" in path for path in X_train])
    page, evaluation = made(tmp_path, clf, X, y == "PNEUMONIA", pos_label=True, n_errors=1)
    missed = np.flatnonzero(evaluation.y & ~evaluation.predicted_positive)
    surest = X[missed[evaluation.proba[missed].argmin()]]
    assert data_uri(image_views([surest], n_views=1, image_size=192, **SHAPE)[0, 0]) in page.source


def test_a_curve_is_thinned_to_what_looks_the_same(random):
    x = np.sort(random.uniform(size=5000))
    y = np.round(x**0.3, 3)
    kept = thinned(x, y)
    assert len(kept) <= 200
    across, along = np.interp(x, x[kept], y[kept]) - y, np.interp(y, y[kept], x[kept]) - x
    assert np.minimum(np.abs(across), np.abs(along)).max() < 0.005


@pytest.mark.parametrize(
    ("share", "said"), [(1.0, "100"), (0.999, "more than 99"), (0.004, "fewer than 1"), (0, "0"), (0.954, "95")]
)
def test_a_hundred_is_not_said_of_nearly_all(share, said):
    assert of_hundred(share) == said


@pytest.mark.parametrize(("share", "full"), [(1.0, 100), (0.996, 99), (0.004, 1), (0, 0), (0.957, 96)])
def test_dots_are_not_all_full_where_nearly_all_are(share, full):
    assert dots_of_hundred(share) == full
