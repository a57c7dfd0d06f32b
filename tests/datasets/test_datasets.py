"""Reading folders of chest X-rays, and drawing synthetic ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from skpneumo.datasets import load_chest_xrays, make_chest_xrays
from skpneumo.datasets._opacities import draw_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, draw_film
from skpneumo.datasets._thorax import draw_thorax

KAGGLE = [
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/IM-0115-0002.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "train/PNEUMONIA/person1_virus_6.jpeg",
    "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person3_virus_17.jpeg",
]
FLAT = ["NORMAL/IM-0115-0001.jpeg", "PNEUMONIA/person1_bacteria_1.jpeg"]


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def relative(bunch, root):
    return [Path(path).relative_to(root).as_posix() for path in bunch.data[:, 0]]


# the loader


@pytest.mark.parametrize(
    ("subset", "folders"),
    [
        ("train", {"train", "val"}),
        ("test", {"test"}),
        ("val", {"val"}),
        ("all", {"train", "val", "test"}),
    ],
)
def test_a_subset_is_its_folders_and_train_includes_val(tmp_path, subset, folders):
    bunch = load_chest_xrays(touch(tmp_path, *KAGGLE), subset=subset)
    expected = {name for name in KAGGLE if name.split("/")[0] in folders}
    assert set(relative(bunch, tmp_path)) == expected
    assert len(bunch.target) == len(bunch.groups) == len(bunch.etiology) == len(expected)


def test_train_can_do_without_val(tmp_path):
    root = touch(tmp_path, *(name for name in KAGGLE if not name.startswith("val")))
    assert len(load_chest_xrays(root).data) == 6
    assert len(load_chest_xrays(root, subset="all").data) == 8


def test_data_are_a_column_of_paths_that_exist(tmp_path):
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


def test_etiology_names_every_file_that_does_not_tell_it(tmp_path):
    touch(tmp_path, *KAGGLE, "train/PNEUMONIA/scan1.jpeg", "train/PNEUMONIA/scan2.jpeg")
    touch(tmp_path, "train/NORMAL/scan3.jpeg")
    with pytest.raises(ValueError, match=r"(?s)2 are not.*scan[12]\.jpeg.*scan[12]\.jpeg") as error:
        load_chest_xrays(tmp_path, target="etiology")
    assert "scan3" not in str(error.value)
    assert sorted(load_chest_xrays(tmp_path).etiology)[-3:] == ["unknown", "unknown", "virus"]


def test_groups_are_patients_and_a_file_that_names_none_is_its_own(tmp_path):
    root = touch(tmp_path, *KAGGLE, "train/NORMAL/scan.jpeg")
    bunch = load_chest_xrays(root)
    groups = dict(zip(relative(bunch, root), bunch.groups, strict=True))
    assert groups["train/NORMAL/IM-0115-0001.jpeg"] == "IM-0115"
    assert groups["train/NORMAL/IM-0115-0002.jpeg"] == "IM-0115"
    assert groups["train/NORMAL/NORMAL2-IM-0115-0001.jpeg"] == "NORMAL2-IM-0115"
    assert groups["train/PNEUMONIA/person1_virus_6.jpeg"] == "person1_virus"
    assert groups["train/NORMAL/scan.jpeg"] == "scan.jpeg"


def test_class_folders_without_splits_are_train(tmp_path):
    root = touch(tmp_path, *FLAT)
    assert set(relative(load_chest_xrays(root), root)) == set(FLAT)
    assert set(relative(load_chest_xrays(root, subset="all"), root)) == set(FLAT)


@pytest.mark.parametrize("subset", ["test", "val"])
def test_asking_class_folders_for_another_split_is_an_error(tmp_path, subset):
    with pytest.raises(FileNotFoundError, match=rf"'{subset}'.*Found: NORMAL, PNEUMONIA"):
        load_chest_xrays(touch(tmp_path, *FLAT), subset=subset)


@pytest.mark.parametrize("names", [KAGGLE, FLAT])
@pytest.mark.parametrize("inner", ["chest_xray", "chest_xray/chest_xray"])
def test_the_folder_of_the_archive_is_looked_into(tmp_path, names, inner):
    touch(tmp_path / inner, *names)
    touch(tmp_path, "__MACOSX/chest_xray/train/NORMAL/IM-0001-0001.jpeg")
    expected = load_chest_xrays(tmp_path / inner).data
    assert load_chest_xrays(tmp_path).data.tolist() == expected.tolist()


def test_case_of_folders_and_endings_does_not_matter(tmp_path):
    names = ["Train/Normal/a.JPG", "Train/Pneumonia/b.Png", "VAL/normal/c.TIFF"]
    root = touch(tmp_path, *names, "VAL/PNEUMONIA/d.webp")
    assert len(load_chest_xrays(root).data) == 4


@pytest.mark.parametrize("name", [".DS_Store", "._IM-0115-0001.jpeg", "notes.txt", "Thumbs.db"])
def test_hidden_files_and_files_of_other_kinds_are_passed_over(tmp_path, name):
    root = touch(tmp_path, *FLAT, f"NORMAL/{name}", "PNEUMONIA/folder.jpeg/inside.jpeg")
    assert set(relative(load_chest_xrays(root), root)) == set(FLAT)


def test_order_depends_on_random_state_alone(tmp_path):
    names = [f"NORMAL/{i}.png" for i in range(20)] + [f"PNEUMONIA/{i}.png" for i in range(20)]
    first, second = touch(tmp_path / "a", *names), touch(tmp_path / "b", *reversed(names))
    orders = [relative(load_chest_xrays(root), root) for root in (first, second)]
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert orders[0] != relative(load_chest_xrays(first, random_state=1), first)
    unshuffled = relative(load_chest_xrays(first, shuffle=False), first)
    assert unshuffled == sorted(unshuffled)


def test_columns_stay_aligned_when_shuffled(tmp_path):
    root = touch(tmp_path, *KAGGLE)
    still, moved = load_chest_xrays(root, shuffle=False), load_chest_xrays(root, random_state=3)
    rows = [sorted(zip(b.data[:, 0], b.target, b.groups, b.etiology, strict=True)) for b in (still, moved)]
    assert rows[0] == rows[1]


def test_the_pair_returned_is_data_and_target(tmp_path):
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
    words = [plain.target_names[label] for label in plain.target]
    assert bunch.frame["diagnosis"].tolist() == words
    X, y = load_chest_xrays(root, as_frame=True, return_X_y=True)
    pd.testing.assert_frame_equal(X, bunch.data)
    pd.testing.assert_series_equal(y, bunch.target)


def test_without_pandas_only_as_frame_fails_and_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    root = touch(tmp_path / "real", *KAGGLE)
    assert len(load_chest_xrays(root).data) == 8
    with pytest.raises(ImportError, match="pip install pandas"):
        load_chest_xrays(root, as_frame=True)
    with pytest.raises(ImportError, match="pip install pandas"):
        make_chest_xrays(4, tmp_path / "drawn", as_frame=True)
    assert not (tmp_path / "drawn").exists()


def test_a_root_that_is_missing_a_file_or_empty_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_chest_xrays(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"archive\.zip"):
        load_chest_xrays(touch(tmp_path, "archive.zip") / "archive.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"NORMAL and PNEUMONIA.*Found: nothing"):
        load_chest_xrays(tmp_path / "empty")


def test_a_missing_class_or_split_folder_is_named_with_what_was_found(tmp_path):
    touch(tmp_path / "class", "train/NORMAL/a.png", "train/SICK/b.png")
    with pytest.raises(FileNotFoundError, match=r"NORMAL and PNEUMONIA in .*Found: NORMAL, SICK"):
        load_chest_xrays(tmp_path / "class")
    touch(tmp_path / "split", "test/NORMAL/a.png", "test/PNEUMONIA/b.png")
    with pytest.raises(FileNotFoundError, match=r"'train' in .*Found: test"):
        load_chest_xrays(tmp_path / "split")
    with pytest.raises(FileNotFoundError, match=r"'train' in .*Found: test"):
        load_chest_xrays(tmp_path / "split", subset="all")


def test_class_folders_beside_split_folders_are_ambiguous(tmp_path):
    with pytest.raises(ValueError, match="either split folders or class folders"):
        load_chest_xrays(touch(tmp_path, *KAGGLE, *FLAT))


def test_folders_without_images_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no image that ends in .*\.jpeg"):
        load_chest_xrays(touch(tmp_path, "NORMAL/a.txt", "PNEUMONIA/b.txt"))


@pytest.mark.parametrize("option", [{"subset": "validation"}, {"target": "age"}])
def test_an_unknown_option_is_refused_with_the_known_ones(tmp_path, option):
    (value,) = option.values()
    with pytest.raises(ValueError, match=f"must be one of '.*, got '{value}'"):
        load_chest_xrays(touch(tmp_path, *KAGGLE), **option)


# the drawings


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """240 films at the default difficulty."""
    folder = tmp_path_factory.mktemp("drawn")
    return folder, make_chest_xrays(240, folder, image_size=64, random_state=0)


def pixels(bunch, size=None):
    images = []
    for path in bunch.data[:, 0]:
        with Image.open(path) as image:
            images.append(np.asarray(image.resize(size) if size else image, dtype=float))
    return images


@pytest.mark.parametrize(
    ("n_samples", "prevalence", "n_ill"),
    [(10, 0.5, 5), (10, 0.3, 3), (10, 0.01, 1), (10, 0.99, 9), (2, 0.5, 1), (4, 0, 0), (4, 1, 4)],
)
def test_prevalence_is_exact_and_leaves_no_class_empty(tmp_path, n_samples, prevalence, n_ill):
    bunch = make_chest_xrays(n_samples, tmp_path, prevalence=prevalence, image_size=32)
    assert len(bunch.data) == n_samples
    assert bunch.target.sum() == n_ill


def test_the_loader_reads_the_same_back(drawn):
    folder, bunch = drawn
    again = load_chest_xrays(folder)
    rows = [sorted(zip(b.data[:, 0], b.target, b.groups, b.etiology, strict=True)) for b in (bunch, again)]
    assert rows[0] == rows[1]
    assert {path.parent for path in folder.rglob("*.*")} == {
        folder / "NORMAL",
        folder / "PNEUMONIA",
    }
    assert sum(path.is_file() for path in folder.rglob("*")) == 240


def test_images_come_shuffled(drawn):
    _, bunch = drawn
    assert 0 < bunch.target[:20].sum() < 20


def test_same_random_state_same_bytes_and_order(tmp_path):
    made = []
    for name, seed in [("a", 7), ("b", np.random.RandomState(7)), ("c", 8)]:
        bunch = make_chest_xrays(6, tmp_path / name, image_size=48, random_state=seed)
        contents = [Path(path).read_bytes() for path in bunch.data[:, 0]]
        made.append(list(zip(relative(bunch, tmp_path / name), contents, strict=True)))
    assert made[0] == made[1]
    assert not {content for _, content in made[0]} & {content for _, content in made[2]}


def test_the_global_random_state_is_left_alone(tmp_path):
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    make_chest_xrays(3, tmp_path, image_size=32, random_state=0)
    load_chest_xrays(tmp_path)
    assert np.random.get_state()[1].tolist() == before


def test_patients_have_one_diagnosis_and_several_films(drawn):
    _, bunch = drawn
    for patient in set(bunch.groups):
        assert len(set(bunch.etiology[bunch.groups == patient])) == 1
    assert 1.6 < 240 / len(set(bunch.groups)) < 2.4
    numbers = {group.split("_")[0] for group in bunch.groups if group.startswith("person")}
    assert len(numbers) < len({group for group in bunch.groups if group.startswith("person")})


def test_one_image_a_patient_when_asked(tmp_path):
    bunch = make_chest_xrays(12, tmp_path, images_per_patient=1, image_size=32)
    assert len(set(bunch.groups)) == 12


def test_films_of_a_patient_differ(tmp_path):
    bunch = make_chest_xrays(24, tmp_path, images_per_patient=4, image_size=64, random_state=1)
    contents = [image.tobytes() for image in pixels(bunch)]
    assert len(set(contents)) == 24


def test_both_kinds_of_pneumonia_are_drawn(drawn):
    _, bunch = drawn
    kinds, counts = np.unique(bunch.etiology, return_counts=True)
    assert kinds.tolist() == ["bacteria", "normal", "virus"]
    assert counts.tolist() == [78, 120, 42]


def test_files_are_gray_jpegs_without_metadata_wider_than_high(drawn):
    _, bunch = drawn
    tables = set()
    for path in bunch.data[:, 0]:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.height) == ("JPEG", "L", 64)
            assert image.width > image.height
            assert not image.getexif()
            assert not {"icc_profile", "comment", "exif"} & set(image.info)
            tables.add(str(image.quantization))
    assert len(tables) == 1


def test_the_films_have_many_shapes(drawn):
    _, bunch = drawn
    assert len({image.shape for image in pixels(bunch)}) > 20


def test_neither_brightness_nor_contrast_nor_shape_gives_the_label_away(drawn):
    _, bunch = drawn
    images = pixels(bunch)
    for measure in (np.mean, np.std, lambda image: image.shape[1]):
        area = roc_auc_score(bunch.target, [measure(image) for image in images])
        assert 0.35 < area < 0.65


def test_opacities_can_be_learnt_and_difficulty_makes_it_harder(tmp_path):
    areas = []
    for difficulty in (0, 1):
        bunch = make_chest_xrays(240, tmp_path / str(difficulty), difficulty=difficulty, image_size=64, random_state=0)
        X = np.stack(pixels(bunch, size=(20, 20))).reshape(240, -1) / 255
        score = cross_val_predict(
            LogisticRegression(C=1, max_iter=1000),
            X - X.mean(axis=1, keepdims=True),
            bunch.target,
            groups=bunch.groups,
            cv=GroupKFold(4),
            method="decision_function",
        )
        areas.append(roc_auc_score(bunch.target, score))
    assert areas[0] > 0.85
    assert areas[1] < areas[0] - 0.15


def test_boxes_lie_in_the_image_and_only_on_pneumonias(drawn):
    _, bunch = drawn
    assert len(bunch.opacities) == 240
    count = {"normal": {0}, "bacteria": {1, 2}, "virus": {2}}
    for boxes, image, kind in zip(bunch.opacities, pixels(bunch), bunch.etiology, strict=True):
        assert boxes.shape[1] == 4
        assert boxes.dtype.kind == "i"
        assert len(boxes) in count[kind]
        height, width = image.shape
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
    viral = [boxes for boxes, kind in zip(bunch.opacities, bunch.etiology, strict=True) if kind == "virus"]
    assert all(right_lung[2] <= left_lung[0] for right_lung, left_lung in viral)


@pytest.mark.parametrize("kind", ["bacteria", "virus"])
@pytest.mark.parametrize("seed", range(5))
def test_an_opacity_whitens_what_its_box_shows(kind, seed):
    rng = np.random.RandomState(seed)
    thorax, film = draw_thorax(rng), draw_film(96, 0.5, rng)
    disease = draw_opacities(kind, thorax, 0.5, rng)
    healthy, none = draw_chest_xray(thorax, [], film, np.random.RandomState(seed))
    ill, boxes = draw_chest_xray(thorax, disease, film, np.random.RandomState(seed))
    change = ill.astype(float) - healthy
    inside = np.zeros(change.shape, dtype=bool)
    for left, top, right, bottom in boxes:
        inside[top:bottom, left:right] = True
    assert none.shape == (0, 4)
    assert change[inside].mean() > change[~inside].mean() + 3


def test_exposure_makes_up_for_the_opacities():
    for seed in range(5):
        rng = np.random.RandomState(seed)
        thorax, film = draw_thorax(rng), draw_film(96, 0, rng)
        disease = draw_opacities("virus", thorax, 0, rng)
        healthy, ill = (
            draw_chest_xray(thorax, opacities, film, np.random.RandomState(seed))[0] for opacities in ([], disease)
        )
        assert abs(ill.mean() - healthy.mean()) < 1.5


def test_a_folder_with_images_is_refused_and_left_as_it_was(tmp_path):
    touch(tmp_path / "flat", "normal/old.PNG")
    with pytest.raises(FileExistsError, match="1 in class folders"):
        make_chest_xrays(2, tmp_path / "flat", image_size=32)
    touch(tmp_path / "split", *KAGGLE)
    with pytest.raises(FileExistsError, match="the folder 'test'"):
        make_chest_xrays(2, tmp_path / "split", image_size=32)
    assert [path.name for path in tmp_path.joinpath("flat").rglob("*.*")] == ["old.PNG"]
    assert not (tmp_path / "split" / "NORMAL").exists()


def test_empty_class_folders_are_filled(tmp_path):
    (tmp_path / "NORMAL").mkdir()
    touch(tmp_path, "PNEUMONIA/.DS_Store", "README.txt")
    assert len(make_chest_xrays(4, tmp_path / "", image_size=32).data) == 4


def test_target_and_containers_are_those_of_the_loader(tmp_path):
    pytest.importorskip("pandas")
    bunch = make_chest_xrays(9, tmp_path / "a", target="etiology", as_frame=True, image_size=32, random_state=0)
    assert bunch.target_names == ["normal", "bacteria", "virus"]
    assert list(bunch.frame) == ["path", "diagnosis", "etiology", "patient"]
    assert [bunch.target_names[label] for label in bunch.target] == bunch.etiology.tolist()
    assert [len(boxes) > 0 for boxes in bunch.opacities] == (bunch.target > 0).tolist()
    X, y = make_chest_xrays(4, tmp_path / "b", return_X_y=True, image_size=32, random_state=0)
    assert X.shape == (4, 1)
    assert sorted(y) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"n_samples": 1}, ValueError),
        ({"n_samples": 0, "prevalence": 0}, ValueError),
        ({"n_samples": 2.5}, TypeError),
        ({"prevalence": 1.1}, ValueError),
        ({"prevalence": "half"}, TypeError),
        ({"images_per_patient": 0.5}, ValueError),
        ({"difficulty": -0.1}, ValueError),
        ({"image_size": 8}, ValueError),
        ({"image_size": 64.0}, TypeError),
        ({"target": "age"}, ValueError),
    ],
)
def test_a_parameter_out_of_range_is_named_before_anything_is_written(tmp_path, parameters, error):
    with pytest.raises(error, match=next(iter(parameters))):
        make_chest_xrays(**{"n_samples": 4, "folder": tmp_path / "new", **parameters})
    assert not (tmp_path / "new").exists()
