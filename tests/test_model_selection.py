import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score, cross_validate

from skpneumo.datasets import audit_xrays
from skpneumo.exceptions import ImageReadError
from skpneumo.model_selection import (
    Overlap,
    PatientGroupKFold,
    check_splits,
    patient_ids,
    patient_train_test_split,
)


def test_patient_ids_accepts_any_container_of_paths(xrays, paths):
    expected = np.array(xrays.groups, dtype=object)
    for X in (paths, xrays.data, pd.Series(paths, index=np.arange(40)[::-1]), pd.DataFrame({"path": paths})):
        np.testing.assert_array_equal(patient_ids(X), expected)


def test_patient_number_is_specific_to_the_kind_of_pneumonia():
    names = ["person1_bacteria_1.jpeg", "person1_virus_1.jpeg", "IM-0001-0001.jpeg", "NORMAL2-IM-0001-0001.jpeg"]
    assert len(set(patient_ids(names))) == 4


def test_patient_ids_raises_on_file_names_without_patient():
    with pytest.raises(ValueError, match=r"X\[1\] 'b/scan.png', X\[2\] 'image.jpg'"):
        patient_ids(["IM-0001-0001.jpeg", "b/scan.png", "image.jpg"])
    with pytest.raises(ValueError, match="pass the patients as groups"):
        patient_ids(np.zeros((3, 2)))


@pytest.mark.parametrize("shuffle", [False, True])
def test_folds_keep_patients_apart_and_contain_both_classes(paths, y, xrays, shuffle):
    folds = PatientGroupKFold(3, shuffle=shuffle, random_state=0 if shuffle else None)
    tested = []
    for train, test in folds.split(paths, y):
        assert not set(xrays.groups[train]) & set(xrays.groups[test])
        assert set(y[train]) == set(y[test]) == {0, 1}
        tested.extend(test)
    assert sorted(tested) == list(range(40))


def test_folds_use_given_groups(y):
    groups = np.repeat(np.arange(10), 4)
    for train, test in PatientGroupKFold(2).split(np.zeros((40, 3)), y, groups):
        assert not set(groups[train]) & set(groups[test])


def test_folds_work_without_groups(clf, paths, y):
    assert len(cross_val_score(clf, paths, y, cv=PatientGroupKFold(3))) == 3
    assert len(cross_validate(clf, paths, y, groups=np.arange(40), cv=PatientGroupKFold(3))["test_score"]) == 3


def test_split_keeps_patients_apart_and_is_stratified(paths, y, xrays):
    train, test, y_train, y_test = patient_train_test_split(paths, y, test_size=0.3, random_state=0)
    assert not set(patient_ids(train)) & set(patient_ids(test))
    assert sorted([*train, *test]) == sorted(paths)
    assert len(test) == pytest.approx(12, abs=4)
    assert y_test.mean() == pytest.approx(0.5, abs=0.2)
    np.testing.assert_array_equal([("PNEUMONIA" in path) for path in test], y_test == 1)
    assert len(y_train) == len(train)


def test_split_depends_on_random_state_only(paths, y):
    def split(seed):
        return patient_train_test_split(paths, y, random_state=seed)[1]

    np.random.seed(0)
    first = split(1)
    np.random.seed(1)
    assert split(1) == first
    assert split(2) != first


def test_split_keeps_the_types_of_containers(paths, y):
    frame, labels = pd.DataFrame({"path": paths}, index=range(100, 140)), pd.Series(y, index=range(100, 140))
    train, test, y_train, y_test = patient_train_test_split(frame, labels, random_state=0)
    assert isinstance(test, pd.DataFrame)
    assert list(train.index) == list(y_train.index)
    assert list(test.index) == list(y_test.index)
    split = patient_train_test_split(np.eye(40), y, groups=np.arange(40) // 2, random_state=0)
    assert [type(part) for part in split] == [np.ndarray] * 4


def kinds(overlaps):
    return [(overlap.kind, Path(overlap.train).name, Path(overlap.test).name) for overlap in overlaps]


def test_check_splits_finds_nothing_in_a_split_by_patient(paths, y):
    train, test, _, _ = patient_train_test_split(paths, y, random_state=0)
    assert check_splits(train, np.array(test, dtype=object).reshape(-1, 1)) == []


def test_check_splits_lists_each_pair_under_the_strongest_kind(paths, tmp_path):
    other, third = (Image.open(path) for path in paths[1:3])
    copied, lossless, again = tmp_path / "copied.jpg", tmp_path / "lossless.png", tmp_path / "again.jpg"
    shutil.copy(paths[0], copied)
    other.save(lossless)
    third.resize((third.width * 2, third.height * 2)).save(again, quality=50)
    found = check_splits(paths[:4], [copied, lossless, again])
    names = [Path(path).name for path in paths]
    assert kinds(found) == [
        ("same file", names[0], "copied.jpg"),
        ("same pixels", names[1], "lossless.png"),
        ("near duplicate", names[2], "again.jpg"),
    ]
    assert [overlap.similarity == 1 for overlap in found] == [True, True, False]
    assert kinds(check_splits(paths[:4], [copied, lossless, again], near=False)) == kinds(found)[:1]
    assert list(pd.DataFrame(found).columns) == list(Overlap._fields)


def test_check_splits_lists_shared_patients_by_pair(paths, y, xrays):
    shared = set(xrays.groups[:20]) & set(xrays.groups[20:])
    found = [each for each in check_splits(paths[:20], paths[20:], near=False) if each.kind == "shared patient"]
    assert shared
    assert {each.patient for each in found} == shared
    assert all(each.similarity is None for each in found)


def test_check_splits_prefers_given_groups_to_file_names(paths):
    train, test = paths[:3], paths[3:6]
    found = check_splits(train, test, train_groups=["a", "b", "c"], test_groups=["d", "a", "e"])
    assert [(each.train, each.test, each.patient) for each in found if each.kind == "shared patient"] == [
        (train[0], test[1], "a")
    ]
    with pytest.raises(ValueError, match="pass both or neither"):
        check_splits(train, test, train_groups=["a", "b", "c"])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("convert", [list, pd.Series, lambda groups: np.array(groups, dtype=object)])
def test_missing_patients_raise(paths, y, missing, convert):
    groups = convert([missing, *map(str, range(38)), missing])
    expected = "must contain one patient per image, but values are missing at positions 0, 39: pass an identifier"
    with pytest.raises(ValueError, match=f"^groups {expected}"):
        PatientGroupKFold(3).split(paths, y, groups)
    with pytest.raises(ValueError, match=f"^groups {expected}"):
        patient_train_test_split(paths, y, groups=groups)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_missing_patients_are_shared_by_no_sets(paths, missing):
    found = check_splits(paths[:3], paths[3:6], train_groups=["a", missing, missing], test_groups=[missing, "a", "b"])
    assert [(each.kind, each.patient) for each in found if each.kind == "shared patient"] == [("shared patient", "a")]


def test_groups_of_another_length_raise_with_both_lengths(paths, y):
    expected = "must contain one patient per image, but it has 2 values for 40 images"
    with pytest.raises(ValueError, match=f"^groups {expected}"):
        PatientGroupKFold(3).split(paths, y, ["a", "b"])
    with pytest.raises(ValueError, match=f"^groups {expected}"):
        patient_train_test_split(paths, y, groups=["a", "b"])
    with pytest.raises(ValueError, match=f"^train_groups {expected}"):
        check_splits(paths, paths, train_groups=["a", "b"], test_groups=paths)
    with pytest.raises(ValueError, match=f"^groups {expected}"):
        audit_xrays(paths, y, groups=["a", "b"])


@pytest.mark.parametrize("near", [False, True])
def test_check_splits_raises_on_unreadable_images_of_both_sets(paths, near, tmp_path):
    note = tmp_path / "note.png"
    note.write_text("no image")
    with pytest.raises(ImageReadError) as caught:
        check_splits([paths[0], "missing.png"], [paths[1], paths[2], note], near=near)
    assert "train[1] 'missing.png': no such file" in str(caught.value)
    assert f"test[2] {str(note)!r}: not an image" in str(caught.value)
    assert [position for position, _, _ in caught.value.failures] == [1, 4]


def test_check_splits_raises_on_numbers(paths):
    with pytest.raises(ValueError, match="test must contain paths of images, but ndarray contains none"):
        check_splits(paths, np.eye(3))


@pytest.mark.parametrize(("train", "test", "name"), [([], ["a.png"], "train"), (["a.png"], [], "test")])
def test_check_splits_raises_on_empty_set(train, test, name):
    with pytest.raises(ValueError, match=f"^{name} must contain paths of images"):
        check_splits(train, test)
