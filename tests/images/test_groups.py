"""Patients from file names and from patterns."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from skpneumo import PneumoniaClassifier
from skpneumo._images.groups import as_groups, find_patients, patients_by_name
from skpneumo._images.inputs import as_images
from skpneumo._leakage import seen_by
from skpneumo.datasets import audit_xrays, load_chest_xrays
from skpneumo.inspection import ThresholdDisplay
from skpneumo.metrics import DiagnosticReport
from skpneumo.model_selection import PatientGroupKFold, check_splits, patient_ids, patient_train_test_split
from skpneumo.reporting._evaluation import evaluate

KIND = r"(person\d+|IM-\d+)[^/]*$"  # another patient than the file name gives by default


@pytest.fixture
def of_pattern(paths):
    """Return the patients that `KIND` finds."""
    patients = find_patients(paths, KIND)
    assert patients.tolist() != patient_ids(paths).tolist()
    return patients


def test_images_without_patient_in_name_are_separate_patients():
    files = [io.BytesIO(b"data"), io.BytesIO(b"data")]
    for file in files:
        file.name = "image.png"
    assert list(patients_by_name(as_images([*files, b"data"]))) == ["X[0]", "X[1]", "X[2]"]


def test_files_of_one_name_in_several_folders_are_separate_patients():
    names = ["train/NORMAL/0001.png", "train/PNEUMONIA/0001.png", "./train/NORMAL/0001.png"]
    first, second, again = patients_by_name(as_images(names))
    assert first == again == str(Path("train/NORMAL/0001.png").absolute())
    assert first != second


def test_files_of_one_name_are_no_leak(clf, paths, y, tmp_path):
    for i, (path, label) in enumerate(zip(paths[:16], y, strict=False)):
        copy = tmp_path / ("train", "test")[i // 8] / ("NORMAL", "PNEUMONIA")[label] / f"{i % 8}.jpeg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    train, test = (load_chest_xrays(tmp_path, subset=subset) for subset in ("train", "test"))
    clf.fit(train.data, train.target, groups=train.groups)
    assert clf.training_summary_["n_patients"] == 8
    assert not seen_by(clf, test.data, test.groups).any()
    assert not seen_by(clf, test.data).any()
    assert seen_by(clf, train.data, train.groups).all()


@pytest.mark.parametrize("pattern", [r"/(?P<patient>P\d+)/", r"/(P\d+)/", r"(?P<patient>P\d+)/(front|side)"])
def test_pattern_finds_the_patient_in_the_whole_path(pattern):
    paths = ["a/P1/front.png", Path("b/P1/side.png"), "c\\P2\\front.png"]
    assert patient_ids(paths, pattern=pattern).tolist() == ["P1", "P1", "P2"]


def test_pattern_does_not_find_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "P0").mkdir()
    monkeypatch.chdir(tmp_path / "P0")
    assert patient_ids(["P1/a.png", "P2/a.png"], pattern=r"(P\d+)").tolist() == ["P1", "P2"]


@pytest.mark.parametrize("pattern", [r"(P\d+)", r"(P\d+|)", r"image|(P\d+)"])
def test_paths_without_match_raise_one_error(pattern):
    paths = ["P1.png", *[f"image{i}.png" for i in range(12)]]
    with pytest.raises(
        ValueError, match=r"finds no patient in 12 of 13 paths: X\[1\] 'image0.png'.* and 2 more"
    ) as error:
        patient_ids(paths, pattern=pattern)
    assert "image9.png" in str(error.value)
    assert "image10.png" not in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"(P)", "got b'.P.': expected str, not bytes"),
        ("(P", "regular expression.*unterminated"),
        (7, "regular expression"),
        ("P", "0 groups"),
        ("(P)(x)", "2 groups"),
    ],
)
def test_invalid_pattern_raises(pattern, expected):
    with pytest.raises(ValueError, match=expected):
        patient_ids(["P1.png"], pattern=pattern)


def test_pattern_needs_images():
    with pytest.raises(ValueError, match="Expected paths of images to read patients from"):
        as_groups("(P)", np.eye(3))
    with pytest.raises(ValueError, match=r"1 of 2 paths: X\[1\] '<bytes>'"):
        as_groups("(P)", ["P", b"data"])


def test_splits_accept_a_pattern(paths, y, of_pattern):
    def folds(groups=None, pattern=None):
        return [test.tolist() for _, test in PatientGroupKFold(3, pattern=pattern).split(paths, y, groups)]

    assert folds(pattern=KIND) == folds(KIND) == folds(of_pattern) == folds(of_pattern, pattern="(unused)")
    by_pattern, by_array = (
        patient_train_test_split(paths, y, groups=groups, random_state=0)[1] for groups in (KIND, of_pattern)
    )
    assert by_pattern == by_array
    assert f"pattern={KIND!r}" in repr(PatientGroupKFold(3, pattern=KIND))


def test_check_splits_and_audit_accept_a_pattern(paths, y, of_pattern):
    def shared(train, test):
        return check_splits(paths[:20], paths[20:], train_groups=train, test_groups=test, near=False)

    assert shared(KIND, KIND) == shared(of_pattern[:20], of_pattern[20:]) != []
    assert audit_xrays(paths, y, groups=KIND).equals(audit_xrays(paths, y, groups=of_pattern))


def test_estimators_and_metrics_accept_a_pattern(clf, paths, y, of_pattern):
    clf.fit(paths[:20], y[:20], groups=KIND)
    assert clf.training_summary_["n_patients"] == len(set(of_pattern[:20]))
    expected = np.isin(of_pattern, of_pattern[:20])
    np.testing.assert_array_equal(seen_by(clf, paths, KIND)[:, 1], expected)
    np.testing.assert_array_equal(seen_by(clf, paths, of_pattern)[:, 1], expected)
    n_patients = len(set(of_pattern))
    with pytest.warns(match="optimistically biased"):
        assert DiagnosticReport.from_estimator(clf, paths, y, groups=KIND, n_bootstrap=9).n_patients == n_patients
    with pytest.warns(match="optimistically biased"):
        assert evaluate(clf, paths, y, groups=KIND).patients.tolist() == of_pattern.tolist()
    with pytest.warns(match="optimistically biased"):
        ThresholdDisplay.from_estimator(clf, paths, y, groups=KIND)
    with pytest.raises(ValueError, match="finds no patient"):
        PneumoniaClassifier().fit(paths, y, groups="(nobody)")
