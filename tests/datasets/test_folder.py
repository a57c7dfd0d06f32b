import re
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.conftest import FLAT, KAGGLE, relative, touch
from skpneumo.datasets import load_chest_xrays, make_chest_xrays
from skpneumo.model_selection import check_splits


@pytest.mark.parametrize(
    ("subset", "folders"),
    [
        ("train", {"train", "val"}),
        ("test", {"test"}),
        ("val", {"val"}),
        ("all", {"train", "val", "test"}),
    ],
)
def test_subset_is_its_folders_and_train_includes_val(tmp_path, subset, folders):
    bunch = load_chest_xrays(touch(tmp_path, *KAGGLE), subset=subset)
    expected = {name for name in KAGGLE if name.split("/")[0] in folders}
    assert set(relative(bunch, tmp_path)) == expected
    assert len(bunch.target) == len(bunch.groups) == len(bunch.etiology) == len(expected)


def test_val_may_be_missing_in_train(tmp_path):
    root = touch(tmp_path, *(name for name in KAGGLE if not name.startswith("val")))
    assert len(load_chest_xrays(root).data) == 6
    assert len(load_chest_xrays(root, subset="all").data) == 8


def test_data_is_a_column_of_existing_paths(tmp_path):
    data = load_chest_xrays(touch(tmp_path, *KAGGLE)).data
    assert data.shape == (8, 1)
    assert data.dtype == object
    assert all(isinstance(path, str) and Path(path).is_file() for path in data[:, 0])


def test_diagnosis_comes_from_the_folder(tmp_path):
    root = touch(tmp_path, *KAGGLE, "train/NORMAL/person9_virus_9.jpeg")
    root = touch(root, "train/PNEUMONIA/IM-0999-0001.jpeg")
    bunch = load_chest_xrays(root)
    assert bunch.target_names == ["normal", "pneumonia"]
    assert bunch.target.dtype.kind == "i"
    folders = [Path(path).parent.name for path in bunch.data[:, 0]]
    assert [bunch.target_names[label].upper() for label in bunch.target] == folders
    kinds = dict(zip(relative(bunch, root), bunch.etiology, strict=True))
    assert kinds["train/NORMAL/person9_virus_9.jpeg"] == "normal"
    assert kinds["train/PNEUMONIA/IM-0999-0001.jpeg"] == "unknown"


def test_etiology_comes_from_the_file_name(tmp_path):
    bunch = load_chest_xrays(touch(tmp_path, *KAGGLE), target="etiology")
    assert bunch.target_names == ["normal", "bacteria", "virus"]
    assert np.bincount(bunch.target).tolist() == [4, 3, 1]
    assert [bunch.target_names[label] for label in bunch.target] == bunch.etiology.tolist()


def test_etiology_comes_from_subfolders(tmp_path):
    names = ["PNEUMONIA/Bacterial/1.png", "PNEUMONIA/virus/deep/1.png", "PNEUMONIA/viral pneumonia/2.png"]
    bunch = load_chest_xrays(touch(tmp_path, "NORMAL/virus/1.png", *names), target="etiology", shuffle=False)
    assert bunch.etiology.tolist() == ["normal", "bacteria", "virus", "virus"]
    assert bunch.target.tolist() == [0, 1, 2, 2]


def test_contradicting_etiology_is_unknown(tmp_path):
    touch(tmp_path, *FLAT, "PNEUMONIA/virus/person1_bacteria_2.png", "PNEUMONIA/environmental/1.png")
    assert load_chest_xrays(tmp_path, shuffle=False).etiology.tolist() == ["normal", "unknown", "bacteria", "unknown"]
    with pytest.raises(ValueError, match=r"2 are not, or name and folder differ: .*bacteria_2\.png"):
        load_chest_xrays(tmp_path, target="etiology")


def test_unknown_etiology_raises_with_file_names(tmp_path):
    touch(tmp_path, *KAGGLE, "train/PNEUMONIA/scan1.jpeg", "train/PNEUMONIA/scan2.jpeg")
    touch(tmp_path, "train/NORMAL/scan3.jpeg")
    with pytest.raises(ValueError, match=r"(?s)2 are not.*scan[12]\.jpeg.*scan[12]\.jpeg") as error:
        load_chest_xrays(tmp_path, target="etiology")
    assert "scan3" not in str(error.value)
    assert sorted(load_chest_xrays(tmp_path).etiology)[-3:] == ["unknown", "unknown", "virus"]


def test_groups_are_patients_and_unnamed_files_are_their_own_group(tmp_path):
    root = touch(tmp_path, *KAGGLE, "train/NORMAL/scan.jpeg")
    bunch = load_chest_xrays(root)
    groups = dict(zip(relative(bunch, root), bunch.groups, strict=True))
    assert groups["train/NORMAL/IM-0115-0001.jpeg"] == "IM-0115"
    assert groups["train/NORMAL/IM-0115-0002.jpeg"] == "IM-0115"
    assert groups["train/NORMAL/NORMAL2-IM-0115-0001.jpeg"] == "NORMAL2-IM-0115"
    assert groups["train/PNEUMONIA/person1_virus_6.jpeg"] == "person1_virus"
    assert groups["train/NORMAL/scan.jpeg"] == str(root / "train/NORMAL/scan.jpeg")


def test_files_of_one_name_are_not_merged_into_one_patient(tmp_path):
    folders = [f"{split}/{name}" for split in ("train", "test") for name in ("NORMAL", "PNEUMONIA")]
    touch(tmp_path, *(f"{folder}/{i:04d}.jpeg" for folder in folders for i in range(10)))
    assert len(set(load_chest_xrays(tmp_path, subset="all").groups)) == 40
    train, test = (load_chest_xrays(tmp_path, subset=subset) for subset in ("train", "test"))
    overlaps = check_splits(train.data, test.data, train_groups=train.groups, test_groups=test.groups, near=False)
    assert "shared patient" not in {each.kind for each in overlaps}


def test_pattern_finds_the_patient_in_the_absolute_path(tmp_path):
    root = touch(tmp_path / "P0", "NORMAL/P1/front.png", "NORMAL/P1/side.png", "PNEUMONIA/P2/front.png")
    bunch = load_chest_xrays(root, pattern=r"/(?P<patient>P[12])/", shuffle=False)
    assert bunch.groups.tolist() == ["P1", "P1", "P2"]
    assert set(load_chest_xrays(root, pattern="/(P0)/").groups) == {"P0"}
    with pytest.raises(ValueError, match=r"finds no patient in 2 of 3 paths: .*P1/front\.png"):
        load_chest_xrays(root, pattern="/(P2)/")


def test_paths_are_absolute_and_links_are_not_resolved(tmp_path, monkeypatch):
    touch(tmp_path / "real", *FLAT)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert relative(load_chest_xrays("link", shuffle=False), tmp_path / "link") == FLAT
    monkeypatch.setenv("HOME", str(tmp_path))
    assert relative(load_chest_xrays("~/link", shuffle=False), tmp_path / "link") == FLAT
    made = make_chest_xrays(2, "made", image_size=32).data[:, 0]
    assert all(Path(path).is_absolute() for path in made)


def test_class_folders_without_splits_are_train(tmp_path):
    root = touch(tmp_path, *FLAT)
    assert set(relative(load_chest_xrays(root), root)) == set(FLAT)
    assert set(relative(load_chest_xrays(root, subset="all"), root)) == set(FLAT)


@pytest.mark.parametrize("subset", ["test", "val"])
def test_other_subset_of_class_folders_raises(tmp_path, subset):
    with pytest.raises(FileNotFoundError, match=rf"'{subset}'.*Found: NORMAL, PNEUMONIA"):
        load_chest_xrays(touch(tmp_path, *FLAT), subset=subset)


@pytest.mark.parametrize("names", [KAGGLE, FLAT])
@pytest.mark.parametrize("inner", ["chest_xray", "chest_xray/chest_xray"])
def test_nested_archive_folder_is_found(tmp_path, names, inner):
    touch(tmp_path / inner, *names)
    touch(tmp_path, "__MACOSX/chest_xray/train/NORMAL/IM-0001-0001.jpeg", "other/roc.png")
    expected = load_chest_xrays(tmp_path / inner).data
    assert load_chest_xrays(tmp_path).data.tolist() == expected.tolist()


def test_names_of_folders_are_case_insensitive(tmp_path):
    names = ["Train/Normal/a.JPG", "Train/Pneumonia/b.Png", "VALID/normal/c.TIFF", "VALID/PNEUMONIA/d.webp"]
    assert len(load_chest_xrays(touch(tmp_path, *names)).data) == 4


def test_order_depends_only_on_random_state(tmp_path):
    names = [f"NORMAL/{i}.png" for i in range(20)] + [f"PNEUMONIA/{i}.png" for i in range(20)]
    first, second = touch(tmp_path / "a", *names), touch(tmp_path / "b", *reversed(names))
    orders = [relative(load_chest_xrays(root), root) for root in (first, second)]
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert orders[0] != relative(load_chest_xrays(first, random_state=1), first)
    unshuffled = relative(load_chest_xrays(first, shuffle=False), first)
    assert unshuffled == sorted(unshuffled)


def test_shuffling_keeps_columns_aligned(tmp_path):
    root = touch(tmp_path, *KAGGLE)
    still, moved = load_chest_xrays(root, shuffle=False), load_chest_xrays(root, random_state=3)
    rows = [sorted(zip(b.data[:, 0], b.target, b.groups, b.etiology, strict=True)) for b in (still, moved)]
    assert rows[0] == rows[1]


def test_return_x_y_is_data_and_target(tmp_path):
    root = touch(tmp_path, *KAGGLE)
    X, y = load_chest_xrays(root, return_X_y=True)
    bunch = load_chest_xrays(str(root))
    assert X.tolist() == bunch.data.tolist()
    assert y.tolist() == bunch.target.tolist()
    assert bunch.frame is None


def test_as_frame_returns_pandas_objects(tmp_path):
    pd = pytest.importorskip("pandas")
    root = touch(tmp_path, *KAGGLE)
    bunch, plain = load_chest_xrays(root, as_frame=True), load_chest_xrays(root)
    assert list(bunch.frame) == ["path", "diagnosis", "etiology", "patient"]
    assert list(bunch.data) == ["path"]
    assert bunch.data["path"].tolist() == plain.data[:, 0].tolist()
    assert isinstance(bunch.target, pd.Series)
    assert bunch.target.tolist() == plain.target.tolist()
    assert bunch.frame["patient"].tolist() == plain.groups.tolist()
    diagnoses = [plain.target_names[label] for label in plain.target]
    assert bunch.frame["diagnosis"].tolist() == diagnoses
    X, y = load_chest_xrays(root, as_frame=True, return_X_y=True)
    pd.testing.assert_frame_equal(X, bunch.data)
    pd.testing.assert_series_equal(y, bunch.target)


def test_missing_pandas_raises_only_for_as_frame(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    root = touch(tmp_path / "real", *KAGGLE)
    assert len(load_chest_xrays(root).data) == 8
    with pytest.raises(ImportError, match="pip install pandas"):
        load_chest_xrays(root, as_frame=True)
    with pytest.raises(ImportError, match="pip install pandas"):
        make_chest_xrays(4, tmp_path / "drawn", as_frame=True)
    assert not (tmp_path / "drawn").exists()


def test_invalid_root_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_chest_xrays(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"archive\.zip"):
        load_chest_xrays(touch(tmp_path, "archive.zip") / "archive.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"NORMAL and PNEUMONIA.*Found: nothing"):
        load_chest_xrays(tmp_path / "empty")
    for root in (None, b"data", {"root": "data"}):
        with pytest.raises(TypeError, match=r"^root must be a path \(str or pathlib\.Path\); got "):
            load_chest_xrays(root)


def test_missing_class_or_split_folder_raises_with_folders_found(tmp_path):
    touch(tmp_path / "class", "train/NORMAL/a.png", "train/SICK/b.png")
    with pytest.raises(FileNotFoundError, match=r"NORMAL and PNEUMONIA in .*Found: NORMAL, SICK"):
        load_chest_xrays(tmp_path / "class")
    touch(tmp_path / "split", "test/NORMAL/a.png", "test/PNEUMONIA/b.png")
    with pytest.raises(FileNotFoundError, match=r"'train' in .*Found: test"):
        load_chest_xrays(tmp_path / "split")
    with pytest.raises(FileNotFoundError, match=r"'train' in .*Found: test"):
        load_chest_xrays(tmp_path / "split", subset="all")


def test_class_folders_beside_split_folders_raise(tmp_path):
    with pytest.raises(ValueError, match="either split folders or class folders"):
        load_chest_xrays(touch(tmp_path, *KAGGLE, *FLAT))


@pytest.mark.parametrize("option", [{"subset": "validation"}, {"target": "age"}, {"subset": ["train"]}])
def test_unknown_option_raises_with_known_options(tmp_path, option):
    (value,) = option.values()
    with pytest.raises(ValueError, match=f"must be a str among {{'.*}}. Got {re.escape(repr(value))}"):
        load_chest_xrays(touch(tmp_path, *KAGGLE), **option)
