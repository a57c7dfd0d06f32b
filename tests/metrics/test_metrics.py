import json
import pickle
import shutil
from dataclasses import FrozenInstanceError
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    class_likelihood_ratios,
    make_scorer,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skpneumo import PneumoniaClassifier
from skpneumo.exceptions import LeakageWarning
from skpneumo.metrics import (
    DiagnosticReport,
    diagnostic_report,
    sensitivity_at_specificity,
    sensitivity_at_specificity_scorer,
    specificity_at_sensitivity,
    specificity_at_sensitivity_scorer,
)

FIGURES = [
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "positive_likelihood_ratio",
    "negative_likelihood_ratio",
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    "brier_score",
    "calibration_slope",
    "calibration_intercept",
    "expected_calibration_error",
]


def table(tp, fn, fp, tn, **options):
    """Judge the calls of a confusion matrix."""
    y = np.repeat([1, 1, 0, 0], [tp, fn, fp, tn])
    p = np.repeat([0.9, 0.1, 0.9, 0.1], [tp, fn, fp, tn])
    return diagnostic_report(y, p, threshold=0.5, n_bootstrap=10, **options)


def draw(seed, n_patients, images=(1, 1), *, share=0.5, apart=2.0, slope=1.5, shift=0.3, alike=0.5, mixed=0.1):
    """Draw films: normal scores, those of a patient correlated, and probabilities that are not quite calibrated."""
    random = np.random.RandomState(seed)
    sizes = random.randint(images[0], images[1] + 1, n_patients)
    patient = np.repeat(np.arange(n_patients), sizes)
    n = len(patient)
    y = (random.rand(n_patients) < share)[patient]
    y = np.where(random.rand(n) < mixed, random.rand(n) < share, y)
    noise = np.sqrt(alike) * random.randn(n_patients)[patient] + np.sqrt(1 - alike) * random.randn(n)
    return y.astype(int), expit(logit(share) + shift + slope * (apart * y + noise - apart / 2)), patient


@pytest.fixture
def films():
    return draw(0, 120, (1, 4))


# Wilson


@pytest.mark.parametrize(
    ("hits", "n", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombe_1998(hits, n, lower, upper):
    sensitivity = table(hits, n - hits, 3, 4)["sensitivity"]
    assert sensitivity.lower == pytest.approx(lower, abs=5e-5)
    assert sensitivity.upper == pytest.approx(upper, abs=5e-5)
    assert sensitivity.method == "Wilson"


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_proportions_have_the_interval_of_scipy(confidence):
    report = table(34, 6, 9, 71, confidence=confidence)
    cells = {"sensitivity": (34, 40), "specificity": (71, 80), "ppv": (34, 43), "npv": (71, 77), "accuracy": (105, 120)}
    for name, (hits, n) in cells.items():
        expected = binomtest(hits, n).proportion_ci(confidence, method="wilson")
        assert report[name][:3] == pytest.approx((hits / n, expected.low, expected.high))


# Ratios


def test_altmans_liver_scans_have_his_figures():
    # 258 ill and 86 well, scans abnormal in 231 and 32; Altman and Bland, BMJ 1994, 308:1552 and 309:102 and 188
    report = table(231, 27, 32, 54, prevalence=0.25)
    printed = {"sensitivity": 0.90, "specificity": 0.63, "ppv": 0.88, "npv": 0.67, "ppv_at_prevalence": 0.45}
    for name, value in printed.items():
        assert report[name].estimate == pytest.approx(value, abs=0.006)
    assert report["npv_at_prevalence"].estimate == pytest.approx(0.95, abs=0.006)
    assert report["positive_likelihood_ratio"].estimate == pytest.approx(2.4, abs=0.06)


def test_likelihood_ratios_have_the_interval_of_their_log():
    report = table(36, 14, 10, 90)
    ratio, error = 0.72 / 0.1, np.sqrt(1 / 36 - 1 / 50 + 1 / 10 - 1 / 100)
    expected = ratio, *(ratio * np.exp(sign * norm.ppf(0.975) * error) for sign in (-1, 1))
    assert report["positive_likelihood_ratio"][:3] == pytest.approx(expected)
    ratio, error = 0.28 / 0.9, np.sqrt(1 / 14 - 1 / 50 + 1 / 90 - 1 / 100)
    expected = ratio, *(ratio * np.exp(sign * norm.ppf(0.975) * error) for sign in (-1, 1))
    assert report["negative_likelihood_ratio"][:3] == pytest.approx(expected)


def test_an_empty_cell_gets_half_an_image_for_the_limits():
    report = table(36, 14, 0, 100)
    ratio, method = report["positive_likelihood_ratio"], report["positive_likelihood_ratio"].method
    error = np.sqrt(1 / 36.5 - 1 / 51 + 1 / 0.5 - 1 / 101)
    assert ratio.lower == pytest.approx(36.5 / 51 / (0.5 / 101) * np.exp(-norm.ppf(0.975) * error))
    assert ratio.estimate == ratio.upper == np.inf
    assert method == "log, 0.5 added"


def test_predictive_values_at_the_samples_prevalence_are_those_of_the_sample():
    report = table(36, 14, 10, 90, prevalence=1 / 3)
    for name in ("ppv", "npv"):
        there = report[f"{name}_at_prevalence"]
        assert there.estimate == pytest.approx(report[name].estimate)
        assert 0 < there.lower < there.estimate < there.upper < 1


# Ranking


def plain_delong(y, p, patient):
    """Write Obuchowski's variance, which is DeLong's where no patient has two films, as it stands in the article."""
    pairs = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
    area, ten, one = pairs.mean(), pairs.mean(axis=1), pairs.mean(axis=0)
    m, n = pairs.shape
    ill, well = patient[y == 1], patient[y == 0]
    sums = [(ten[ill == k].sum() - (ill == k).sum() * area, one[well == k].sum() - (well == k).sum() * area)
            for k in np.unique(patient)]  # fmt: skip
    i, i10, i01 = len(sums), len(set(ill)), len(set(well))
    s10 = i10 / ((i10 - 1) * m) * sum(a**2 for a, _ in sums)
    s01 = i01 / ((i01 - 1) * n) * sum(b**2 for _, b in sums)
    s11 = i / (i - 1) * sum(a * b for a, b in sums)
    return area, s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("images", [(1, 1), (1, 5)])
def test_the_variance_of_the_area_is_delongs_or_obuchowskis(images):
    y, p, patient = draw(3, 60, images)
    p = p.round(2)  # ties
    area, variance = plain_delong(y, p, patient)
    found = diagnostic_report(y, p, threshold=0.5, groups=patient)["roc_auc"]
    assert found.estimate == pytest.approx(area)
    quantile = norm.ppf(0.975) if images == (1, 1) else 2.0009
    reach = (logit(found.upper) - logit(found.lower)) / 2
    reach /= np.sqrt(variance) / (area * (1 - area))
    # Student's has 59 degrees of freedom, or fewer where few patients make up the variance.
    assert reach == pytest.approx(quantile, rel=1e-4) if images == (1, 1) else quantile < reach < 1.1 * quantile


def test_what_is_said_of_average_precision_is_its_derivative(films):
    from skpneumo.metrics import _ranking
    from skpneumo.metrics._interval import Patients

    y, p, _ = films
    p = p.round(2)
    step, jackknife = 1e-6, []
    for i in range(len(y)):
        weight = np.ones(len(y))
        weight[i] += step
        more = average_precision_score(y, p, sample_weight=weight)
        jackknife.append((more - average_precision_score(y, p)) / step)
    found = _ranking.average_precision_interval(y == 1, p, Patients(np.arange(len(y)), len(y)), 0.95)
    error = (logit(found.upper) - logit(found.lower)) / 2 / norm.ppf(0.975) * found.estimate * (1 - found.estimate)
    assert error == pytest.approx(np.sqrt(np.square(jackknife).sum()), rel=1e-4)


# Calibration


def test_slope_and_intercept_are_those_of_unpenalised_regressions(films):
    y, p, patient = films
    report = diagnostic_report(y, p, threshold=0.5, groups=patient)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(logit(p)[:, None], y)
    assert report["calibration_slope"].estimate == pytest.approx(model.coef_[0, 0], rel=1e-6)
    intercept = report["calibration_intercept"].estimate
    assert expit(logit(p) + intercept).mean() == pytest.approx(y.mean())


def test_logits_that_are_mended_by_the_report_are_calibrated(films):
    y, p, patient = films
    slope = diagnostic_report(y, p, threshold=0.5, groups=patient)["calibration_slope"].estimate
    mended = slope * logit(p)
    mended += diagnostic_report(y, expit(mended), threshold=0.5)["calibration_intercept"].estimate
    again = diagnostic_report(y, expit(mended), threshold=0.5, groups=patient)
    assert again["calibration_slope"].estimate == pytest.approx(1)
    assert again["calibration_intercept"].estimate == pytest.approx(0, abs=1e-9)


def test_calibration_error_is_the_mean_gap_of_ten_equal_bins(random):
    p = random.permutation((np.arange(200) + 0.5) / 200)
    y = (random.rand(200) < p**2).astype(int)
    order = np.argsort(p).reshape(10, 20)
    expected = np.mean([abs(y[rows].mean() - p[rows].mean()) for rows in order])
    found = diagnostic_report(y, p, threshold=0.5)["expected_calibration_error"]
    assert found.estimate == pytest.approx(expected)
    assert 0 <= found.lower < found.estimate < found.upper < 0.5


# All figures


def test_estimates_are_those_of_scikit_learn(films):
    y, p, patient = films
    report = diagnostic_report(y, p, threshold=0.4, groups=patient)
    called = p >= 0.4
    positive, negative = class_likelihood_ratios(y, called)
    expected = {
        "sensitivity": recall_score(y, called),
        "specificity": recall_score(y, called, pos_label=0),
        "ppv": precision_score(y, called),
        "npv": precision_score(y, called, pos_label=0),
        "positive_likelihood_ratio": positive,
        "negative_likelihood_ratio": negative,
        "accuracy": accuracy_score(y, called),
        "balanced_accuracy": balanced_accuracy_score(y, called),
        "roc_auc": roc_auc_score(y, p),
        "average_precision": average_precision_score(y, p),
        "brier_score": brier_score_loss(y, p),
    }
    for name, value in expected.items():
        assert report[name].estimate == pytest.approx(value), name
    assert list(report) == FIGURES
    for name in FIGURES:
        assert report[name].lower <= report[name].estimate <= report[name].upper, name
    assert (report.n, report.n_patients, report.prevalence) == (len(y), 120, pytest.approx(y.mean()))
    assert report.tp + report.fn == y.sum()


def test_patients_of_one_image_change_nothing_but_words(films):
    y, p, _ = films
    alone = diagnostic_report(y, p, threshold=0.5)
    named = diagnostic_report(y, p, threshold=0.5, groups=[f"p{i}" for i in range(len(y))])
    for name in FIGURES[:-1]:
        assert named[name][:3] == pytest.approx(alone[name][:3])
        assert named[name].method == alone[name].method


def test_copies_of_each_film_make_no_interval_narrower(films):
    y, p, _ = films
    y, p = y[:90], p[:90]
    single = diagnostic_report(y, p, threshold=0.5)
    copied = diagnostic_report(np.tile(y, 3), np.tile(p, 3), threshold=0.5, groups=np.tile(np.arange(90), 3))
    for name in FIGURES[:-1]:
        assert copied[name].estimate == pytest.approx(single[name].estimate), name
        width = copied[name].upper - copied[name].lower
        assert 1 <= width / (single[name].upper - single[name].lower) < 1.35, name


def test_order_and_kind_of_container_change_nothing(films):
    y, p, patient = films
    expected = diagnostic_report(y, p, threshold=0.5, groups=patient)
    order = np.random.RandomState(1).permutation(len(y))
    frame = pd.DataFrame({"y": y, "p": p, "patient": [f"patient {k:03}" for k in patient]}).iloc[order]
    shuffled = diagnostic_report(frame.y, frame.p, threshold=0.5, groups=frame.patient)
    words = np.array(["well", "ill"])[y]
    columns = np.column_stack([p, 1 - p])  # "ill" comes before "well"
    renamed = diagnostic_report(words, columns, threshold=0.5, groups=patient, pos_label="ill")
    for name in FIGURES:
        assert shuffled[name][:3] == pytest.approx(expected[name][:3]), name
        assert renamed[name][:3] == pytest.approx(expected[name][:3]), name


def test_only_the_random_state_decides_what_is_drawn(films):
    y, p, patient = films

    def limits(seed):
        report = diagnostic_report(y, p, threshold=0.5, groups=patient, n_bootstrap=50, random_state=seed)
        return report["expected_calibration_error"].upper

    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    assert limits(1) == limits(1) != limits(2)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_probability_at_the_threshold_is_called_positive():
    report = diagnostic_report([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9], threshold=0.5)
    assert (report.tp, report.fp, report.tn, report.fn) == (2, 1, 1, 0)


# What is degenerate


def test_all_calls_one_way_leave_what_they_need_undefined():
    nobody = diagnostic_report([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], threshold=0.9, prevalence=0.2)
    undefined = {"ppv", "positive_likelihood_ratio", "ppv_at_prevalence"}
    assert {name for name in nobody if np.isnan(nobody[name].estimate)} == undefined
    everybody = diagnostic_report([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], threshold=0.0, prevalence=0.2)
    undefined = {"npv", "negative_likelihood_ratio", "npv_at_prevalence"}
    assert {name for name in everybody if np.isnan(everybody[name].estimate)} == undefined
    assert "-" in str(everybody)


@pytest.mark.parametrize("groups", [None, np.arange(40) // 2])
@pytest.mark.parametrize("sure", [False, True])
def test_perfect_separation_has_no_slope_and_still_an_interval_of_the_area(groups, sure):
    y = np.arange(40) % 2
    p = y.astype(float) if sure else 0.2 + 0.6 * y
    report = diagnostic_report(y, p, threshold=0.5, groups=groups)
    slope = report["calibration_slope"]
    assert slope.estimate == np.inf
    assert np.isnan([slope.lower, slope.upper]).all()
    assert slope.method == "none: separated"
    assert 0.8 < report["roc_auc"].lower < report["roc_auc"].estimate == report["roc_auc"].upper == 1
    assert 0.7 < report["sensitivity"].lower < 0.9
    reverse = diagnostic_report(y, 1 - p, threshold=0.5, groups=groups)
    assert reverse["calibration_slope"].estimate == -np.inf
    assert reverse["roc_auc"][:2] == (0, 0)
    assert reverse["roc_auc"].upper == pytest.approx(1 - report["roc_auc"].lower)


def test_the_area_of_a_perfect_order_has_newcombes_lower_limit():
    # The limit is the area from which 1 lies 1.96 standard errors away by its own variance (Newcombe 2006, method 5).
    low = diagnostic_report([0] * 30 + [1] * 20, np.arange(50) / 50, threshold=0.5)["roc_auc"].lower
    variance = low * (1 - low) / 600 * (1 + 24 * ((1 - low) / (2 - low) + low / (1 + low)))
    assert 1 - low == pytest.approx(norm.ppf(0.975) * np.sqrt(variance))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certain_probabilities_are_finite_on_the_logit_scale(dtype):
    y = np.array([0, 0, 1, 1, 0, 1] * 10)
    p = np.array([0, 1, 1, 0, 0.2, 0.7] * 10, dtype)
    report = diagnostic_report(y, p, threshold=0.5)
    assert np.isfinite([*report["calibration_slope"][:3], *report["calibration_intercept"][:3]]).all()


def test_one_probability_for_all_orders_nothing():
    report = diagnostic_report([0, 1] * 10, [0.5] * 20, threshold=0.5)
    assert report["roc_auc"].estimate == 0.5
    assert np.isnan(report["calibration_slope"].estimate)
    assert report["calibration_intercept"].estimate == pytest.approx(0)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_a_single_patient_leaves_no_interval(threshold):
    report = diagnostic_report([0, 1, 0, 1], [0.1, 0.8, 0.6, 0.4], threshold=threshold, groups=[7] * 4)
    for name in FIGURES:
        assert not np.isnan(report[name].estimate), name
        assert np.isnan([report[name].lower, report[name].upper]).all(), name


def test_a_slope_that_hangs_on_one_patient_has_no_interval():
    report = diagnostic_report([0, 1, 0, 1, 1], [0.3, 0.3, 0.6, 0.6, 0.6], threshold=0.5, groups=[1, 2, 3, 3, 3])
    assert np.isfinite([report["calibration_intercept"].lower, report["calibration_slope"].estimate]).all()
    assert np.isnan(report["calibration_slope"].lower)


# What is refused

GOOD = {"y_true": [0, 1, 0, 1], "y_proba": [0.1, 0.9, 0.2, 0.8], "threshold": 0.5}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"y_proba": [0.1, np.nan, -0.2, 0.8]}, r"2 of 4 do not: \[1\] nan, \[2\] -0.2"),
        ({"y_proba": [0.1, 1.5, 0.2, np.inf]}, r"\[1\] 1.5, \[3\] inf"),
        ({"y_proba": [[0.5, 0.5], [0.5, 0.6], [1, 0], [0.2, 0.2]]}, r"\[1\] \[0.5, 0.6\], \[3\] \[0.2, 0.2\]"),
        ({"y_proba": np.full((4, 3), 1 / 3)}, r"got \(4, 3\)"),
        ({"y_proba": ["a", "b", "c", "d"]}, "numbers between 0 and 1"),
        ({"y_proba": [0.1, 0.9]}, "inconsistent numbers of samples"),
        ({"y_true": [0, np.nan, np.nan, 1.0]}, r"\[1\] nan, \[2\] nan"),
        ({"y_true": [0, 0, 0, 0]}, "both classes"),
        ({"y_true": [0, 1, 2, 1], "pos_label": 1}, "one against the rest"),
        ({"y_true": ["a", "b", "a", "b"]}, "pos_label is not specified"),
        ({"y_true": ["a", "b", "a", "b"], "pos_label": "c"}, r"'c' is none of the labels in y_true, \['a', 'b'\]"),
        ({"groups": [1, 2, 3]}, "for each of 4 images; got 3"),
        ({"groups": ["p", None, "q", None]}, r"\[1\] None, \[3\] None"),
        ({"threshold": 1.1}, "threshold must be a number between 0 and 1; got 1.1"),
        ({"threshold": np.nan}, "threshold must"),
        ({"threshold": True}, "threshold must"),
        ({"confidence": 95}, "confidence must be a number between 0 and 1, both excluded; got 95"),
        ({"prevalence": 0}, "prevalence must"),
        ({"n_bootstrap": 0}, "n_bootstrap must"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_every_item_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        diagnostic_report(**{**GOOD, **wrong})


# The report


def test_a_report_is_plain_in_json_and_in_a_frame():
    report = diagnostic_report(**GOOD, prevalence=0.1)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain == report.to_dict()
    assert plain["figures"]["calibration_slope"]["estimate"] is None
    assert plain["figures"]["sensitivity"] == report["sensitivity"]._asdict()
    assert (plain["tp"], plain["n"], plain["threshold"], plain["stated_prevalence"]) == (2, 4, 0.5, 0.1)
    frame = report.to_frame()
    assert list(frame.columns) == ["estimate", "lower", "upper", "method"]
    assert list(frame.index) == list(report)
    assert frame.loc["npv", "lower"] == report["npv"].lower


def test_a_report_is_immutable_small_and_pickled():
    report = table(30, 5, 6, 40)
    with pytest.raises(FrozenInstanceError):
        report.tp = 35
    assert pickle.loads(pickle.dumps(report)) == report
    assert len(pickle.dumps(report)) < 3000
    with pytest.raises(KeyError, match="no figure 'recall'; there are sensitivity"):
        report["recall"]


def test_a_printed_report_says_how_it_was_made():
    text = str(table(231, 27, 32, 54, prevalence=0.25))
    assert "344 images, 75.0% positive" in text
    assert "of 258 positive, 231 called positive,  27 missed" in text
    assert "Sensitivity                    0.895   0.852 to 0.927  Wilson\n" in text
    assert "Each image counts as a patient" in text
    assert text.endswith("These figures are of these images alone; another site has to be measured itself.")
    grouped = str(table(20, 20, 20, 20, groups=np.arange(80) // 2))
    assert "80 images of 40 patients" in grouped
    assert "Wilson, patients" in grouped


# From a classifier


@pytest.fixture
def rows():
    random = np.random.RandomState(0)
    y = np.arange(80) % 2
    return random.randn(80, 3) + y[:, None], y


class Lengths(ClassifierMixin, BaseEstimator):
    """Takes paths, and looks at no film."""

    classes_ = np.array([0, 1])

    def predict_proba(self, X):
        lengths = np.array([len(str(path)) + i % 7 for i, path in enumerate(np.ravel(X))])
        p = lengths / (lengths.max() + 1)
        return np.column_stack([1 - p, p])


def test_patients_are_read_from_the_names_of_films(paths, y, xrays):
    expected = diagnostic_report(y, Lengths().predict_proba(paths), threshold=0.5, groups=xrays.groups)
    assert DiagnosticReport.from_estimator(Lengths(), xrays.data, y) == expected
    assert expected.n_patients == len(set(xrays.groups)) < 40


def test_features_are_of_a_patient_each_unless_groups_say_otherwise(rows):
    X, y = rows
    clf = LogisticRegression().fit(X, y)
    assert not DiagnosticReport.from_estimator(clf, X, y).has_groups
    assert DiagnosticReport.from_estimator(clf, pd.DataFrame(X), y, groups=np.arange(80) // 4).n_patients == 20


def test_the_threshold_of_a_classifier_that_has_one_is_used(rows):
    X, y = rows
    tuned = TunedThresholdClassifierCV(LogisticRegression(), cv=3, scoring="balanced_accuracy").fit(X, y)
    fixed = FixedThresholdClassifier(LogisticRegression(), threshold=0.3).fit(X, y)
    piped = make_pipeline(StandardScaler(), clone(fixed)).fit(X, y)
    searched = GridSearchCV(clone(fixed), {"estimator__C": [1.0, 2.0]}, cv=2).fit(X, y)
    thresholds = [(tuned, tuned.best_threshold_), (fixed, 0.3), (piped, 0.3), (searched, 0.3)]
    for clf, threshold in [*thresholds, (FrozenEstimator(piped), 0.3)]:
        report = DiagnosticReport.from_estimator(clf, X, y)
        assert report.threshold == threshold
        assert report["accuracy"].estimate == clf.score(X, y)
    assert DiagnosticReport.from_estimator(fixed, X, y, threshold=0.5).threshold == 0.5
    auto = FixedThresholdClassifier(LogisticRegression()).fit(X, y)
    assert DiagnosticReport.from_estimator(auto, X, y).threshold == 0.5


def test_a_threshold_of_logits_or_of_another_label_is_refused(rows):
    X, y = rows
    logits = FixedThresholdClassifier(LogisticRegression(), threshold=1.0, response_method="decision_function")
    with pytest.raises(ValueError, match="one of decision_function"):
        DiagnosticReport.from_estimator(logits.fit(X, y), X, y)
    other = FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label=0).fit(X, y)
    with pytest.raises(ValueError, match="the probability of 0, but pos_label is 1"):
        DiagnosticReport.from_estimator(other, X, y)


def test_labels_that_are_words_need_the_positive_one(rows):
    X, y = rows
    words = np.array(["well", "ill"])[y]
    clf = LogisticRegression().fit(X, words)
    with pytest.raises(ValueError, match="pos_label is not specified"):
        DiagnosticReport.from_estimator(clf, X, words)
    found = DiagnosticReport.from_estimator(clf, X, words, pos_label="ill")
    expected = DiagnosticReport.from_estimator(LogisticRegression().fit(X, y), X, y)
    assert found["roc_auc"].estimate == pytest.approx(expected["roc_auc"].estimate)
    three = LogisticRegression().fit(X, np.arange(80) % 3)
    with pytest.raises(ValueError, match=r"two classes.*its classes are \[.*0.*1.*2.*\]"):
        DiagnosticReport.from_estimator(three, X, y)


# One at the other


def test_the_best_operating_point_is_found_by_trying_all(films):
    y, p, _ = films
    p = p.round(1)
    for bound in (0.0, 0.5, 0.9, 0.95, 1.0):
        calls = [p >= threshold for threshold in [*np.unique(p), 2]]
        points = [((called & (y == 1)).sum() / (y == 1).sum(), (~called & (y == 0)).sum() / (y == 0).sum())
                  for called in calls]  # fmt: skip
        sensitivity = max(sens for sens, spec in points if spec >= bound)
        assert sensitivity_at_specificity(y, p, specificity=bound) == pytest.approx(sensitivity)
        specificity = max(spec for sens, spec in points if sens >= bound)
        assert specificity_at_sensitivity(y, p, sensitivity=bound) == pytest.approx(specificity)


@pytest.mark.parametrize("n", [10, 20, 30, 70, 300])
def test_a_bound_that_is_met_exactly_is_met(n):
    for wrong in range(n):
        y = np.r_[np.zeros(n), 1].astype(int)
        score = np.r_[np.arange(n), n - wrong - 0.5]
        assert sensitivity_at_specificity(y, score, specificity=1 - wrong / n) == 1
        assert sensitivity_at_specificity(y, score, specificity=(n - wrong) / n) == 1


def test_weights_count_as_copies():
    y, score, weight = [0, 0, 0, 1, 1], [0.1, 0.4, 0.6, 0.5, 0.9], [1, 1, 3, 2, 1]
    copies = np.repeat(np.arange(5), weight)
    for figure in (sensitivity_at_specificity, specificity_at_sensitivity):
        for bound in (0.3, 0.5, 0.8):
            option = {"specificity" if figure is sensitivity_at_specificity else "sensitivity": bound}
            weighted = figure(y, score, sample_weight=weight, **option)
            assert weighted == pytest.approx(figure(np.take(y, copies), np.take(score, copies), **option))


def test_scorers_serve_searches_and_cross_validation(rows):
    X, y = rows
    scoring = {"sens": sensitivity_at_specificity_scorer, "spec": specificity_at_sensitivity_scorer}
    scores = cross_validate(LogisticRegression(), X, y, cv=2, scoring=scoring)
    assert np.all((scores["test_sens"] > 0) & (scores["test_sens"] <= 1))
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2, scoring=sensitivity_at_specificity_scorer)
    clone(search).fit(X, y)
    again = pickle.loads(pickle.dumps(specificity_at_sensitivity_scorer))
    clf = LogisticRegression().fit(X, y)
    assert again(clf, X, y) == specificity_at_sensitivity(y, clf.predict_proba(X)[:, 1])


def test_a_scorer_of_words_takes_the_positive_label(rows):
    X, y = rows
    words = np.array(["well", "ill"])[y]
    response = ("decision_function", "predict_proba")
    scorer = make_scorer(sensitivity_at_specificity, response_method=response, specificity=0.8, pos_label="ill")
    expected = sensitivity_at_specificity(y, LogisticRegression().fit(X, y).decision_function(X), specificity=0.8)
    assert scorer(LogisticRegression().fit(X, words), X, words) == pytest.approx(expected)


def test_an_operating_point_without_both_classes_is_undefined():
    for figure in (sensitivity_at_specificity, specificity_at_sensitivity):
        for y in ([0, 0], [1, 1]):
            with pytest.warns(UndefinedMetricWarning):
                assert np.isnan(figure(y, [0.1, 0.2]))
    with pytest.raises(ValueError, match="specificity == 2"):
        sensitivity_at_specificity([0, 1], [0.1, 0.2], specificity=2)


# Coverage


def truth(*, share=0.5, apart=2.0, slope=1.5, shift=0.3):
    """Compute the figures of all films that `draw` could ever draw, at the threshold 0.5."""
    score = np.linspace(-9, 9 + apart, 100_001)
    step = score[1] - score[0]
    ill, well = share * norm.pdf(score - apart) * step, (1 - share) * norm.pdf(score) * step
    logits = logit(share) + shift + slope * (score - apart / 2)
    p = expit(logits)
    precision = share * norm.sf(score - apart) / (share * norm.sf(score - apart) + (1 - share) * norm.sf(score))
    sens, spec = ill[p >= 0.5].sum() / share, well[p < 0.5].sum() / (1 - share)
    return {
        "sensitivity": sens,
        "specificity": spec,
        "ppv": share * sens / (share * sens + (1 - share) * (1 - spec)),
        "npv": (1 - share) * spec / ((1 - share) * spec + share * (1 - sens)),
        "ppv_at_prevalence": 0.1 * sens / (0.1 * sens + 0.9 * (1 - spec)),
        "npv_at_prevalence": 0.9 * spec / (0.9 * spec + 0.1 * (1 - sens)),
        "accuracy": share * sens + (1 - share) * spec,
        "balanced_accuracy": (sens + spec) / 2,
        "positive_likelihood_ratio": sens / (1 - spec),
        "negative_likelihood_ratio": (1 - sens) / spec,
        "roc_auc": norm.cdf(apart / np.sqrt(2)),
        "average_precision": ill @ precision / share,
        "brier_score": ill @ (1 - p) ** 2 + well @ p**2,
        "calibration_slope": apart / slope,
        "calibration_intercept": brentq(lambda move: (ill + well) @ expit(logits + move) - share, -9, 9),
    }


@cache
def covered(n_patients, images, with_groups, n_studies=1500, **options):
    """Return in which share of studies each interval holds the truth."""
    true = truth(**options)
    hits = dict.fromkeys(true, 0)
    for seed in range(n_studies):
        y, p, patient = draw(seed, n_patients, images, **options)
        groups = patient if with_groups else None
        report = diagnostic_report(y, p, threshold=0.5, groups=groups, prevalence=0.1, n_bootstrap=1)
        for name, value in true.items():
            hits[name] += report[name].lower <= value <= report[name].upper
    return {name: count / n_studies for name, count in hits.items()}


@pytest.mark.parametrize(
    ("n_patients", "images", "options"),
    [(200, (1, 1), {}), (400, (1, 1), {"apart": 3.0, "slope": 3.0, "share": 0.3, "shift": 0.0}), (100, (1, 5), {})],
    ids=["200 films", "400 films, few ill, well told", "about 300 films of 100 patients"],
)
def test_intervals_cover_the_truth_as_often_as_they_say(n_patients, images, options):
    shares = covered(n_patients, images, images[1] > 1, **options)
    assert {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97} == {}


@pytest.mark.parametrize(("options", "least"), [({}, 0.95), ({"slope": 2.0, "shift": 0.0}, 0.85)])
def test_calibration_error_lies_above_the_truth_and_its_cautious_interval_reaches_down_to_it(options, least):
    score = np.linspace(-9, 11, 100_001)
    step, options = score[1] - score[0], {"slope": 1.5, "shift": 0.3, **options}
    ill, well = (0.5 * norm.pdf(score - mean) * step for mean in (2, 0))
    gap = ill - (ill + well) * expit(options["shift"] + options["slope"] * (score - 1))
    bins = np.minimum((ill + well).cumsum() * 10, 9).astype(int)
    true = np.abs(np.bincount(bins, gap)).sum() + 1e-9
    found = []
    for seed in range(200):
        y, p, patient = draw(seed, 100, (1, 5), **options)
        report = diagnostic_report(y, p, threshold=0.5, groups=patient, n_bootstrap=200)
        found.append(report["expected_calibration_error"])
    assert np.mean([figure.estimate for figure in found]) > true + 0.01
    assert np.mean([figure.lower <= true <= figure.upper for figure in found]) > least


def test_films_that_pass_for_patients_have_intervals_that_cover_too_seldom():
    shares = covered(100, (1, 5), False, n_studies=300)
    for name in ("sensitivity", "specificity", "accuracy", "roc_auc", "brier_score", "calibration_intercept"):
        assert shares[name] < 0.91, name


def test_names_and_numbers_may_name_patients():
    mixed, plain = (
        diagnostic_report([0, 1, 0, 1, 1, 0], [0.1, 0.8, 0.6, 0.4, 0.9, 0.2], threshold=0.5, groups=groups)
        for groups in (np.array(["a", 1, "a", 1, 2, 3], object), [0, 1, 0, 1, 2, 3])
    )
    assert mixed["sensitivity"] == plain["sensitivity"]
    assert mixed.n_patients == 4


def test_nothing_at_all_is_no_report():
    with pytest.raises(ValueError, match="y_true is empty"):
        diagnostic_report([], [], threshold=0.5)


def test_patients_that_agree_by_chance_leave_no_interval():
    report = diagnostic_report([0, 1, 1, 0], [0.1, 0.2, 0.6, 0.4], threshold=0.5, groups=list("aabb"))
    for name in ("roc_auc", "positive_likelihood_ratio", "balanced_accuracy"):
        _, lower, upper, _ = report[name]
        assert np.isnan(lower) or upper > lower, name


def test_files_whose_names_tell_no_patient_are_not_taken_for_patients(clf, paths, y, tmp_path):
    anonymous = [str(tmp_path / f"scan{i}.png") for i in range(10)]
    for path, copy in zip(paths[30:], anonymous, strict=True):
        shutil.copy(path, copy)
    report = DiagnosticReport.from_estimator(clf.fit(paths[:30], y[:30]), anonymous, y[30:])
    assert not report.has_groups
    assert "several of one patient" in str(report)


@pytest.mark.parametrize("labels", [[0, 1], ["well", "ill"], ["healthy", "ill"]])
@pytest.mark.parametrize("handling", [{}, {"class_weight": "balanced"}, {"sampler": "under", "random_state": 0}])
def test_a_report_calls_as_the_classifier_does(labels, handling, matrix, xrays):
    y = np.array(labels)[xrays.target]
    keep = np.r_[np.flatnonzero(xrays.target == 0), np.flatnonzero(xrays.target == 1)[:8]]
    clf = PneumoniaClassifier(**handling).fit(matrix[keep][::2], y[keep][::2])
    X, truth = matrix[keep][1::2], y[keep][1::2]
    report = DiagnosticReport.from_estimator(clf, X, truth, pos_label=labels[1])
    assert report.tp + report.fp == np.sum(clf.predict(X) == labels[1])
    assert report["accuracy"].estimate == pytest.approx(clf.score(X, truth))


def test_a_report_on_what_was_seen_brings_a_warning(clf, paths, y):
    with pytest.warns(LeakageWarning, match="^40 of 40 images"):
        DiagnosticReport.from_estimator(clf.fit(paths, y), paths, y)


def test_probabilities_that_are_all_certain_leave_the_intercept_without_an_interval():
    report = diagnostic_report([0, 1, 1, 0, 1, 0], [0.0, 1.0, 1.0, 0.0, 0.0, 1.0], threshold=0.5)
    assert np.isfinite(report["calibration_intercept"].estimate)
    assert np.isnan(report["calibration_intercept"][1:3]).all()


@pytest.mark.parametrize("groups", [range(39), range(41), [*range(39), float("nan")], [*range(39), None]])
def test_wrong_groups_are_an_error_of_the_report_and_none_of_the_guard(clf, paths, y, groups):
    with pytest.raises(ValueError, match="groups must name a patient for each"):
        DiagnosticReport.from_estimator(clf.fit(paths, y), paths, y, groups=list(groups))
