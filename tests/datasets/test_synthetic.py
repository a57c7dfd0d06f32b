from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from datasets.conftest import KAGGLE, relative, touch
from skpneumo.datasets import load_chest_xrays, make_chest_xrays
from skpneumo.model_selection import check_splits


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Generate 240 images at the default difficulty."""
    folder = tmp_path_factory.mktemp("drawn")
    return folder, make_chest_xrays(240, folder, image_size=64, random_state=0)


def pixels(bunch, size=None):
    images = []
    for path in bunch.data[:, 0]:
        with Image.open(path) as image:
            images.append(np.asarray(image.resize(size) if size else image, dtype=float))
    return images


@pytest.mark.parametrize(
    ("n_samples", "prevalence", "n_pneumonia"),
    [(10, 0.5, 5), (10, 0.3, 3), (10, 0.01, 1), (10, 0.99, 9), (2, 0.5, 1), (4, 0, 0), (4, 1, 4)],
)
def test_prevalence_is_exact_and_no_class_is_empty(tmp_path, n_samples, prevalence, n_pneumonia):
    bunch = make_chest_xrays(n_samples, tmp_path, prevalence=prevalence, image_size=32)
    assert len(bunch.data) == n_samples
    assert bunch.target.sum() == n_pneumonia


def test_loader_returns_the_same_data(drawn):
    folder, bunch = drawn
    again = load_chest_xrays(folder)
    rows = [sorted(zip(b.data[:, 0], b.target, b.groups, b.etiology, strict=True)) for b in (bunch, again)]
    assert rows[0] == rows[1]
    assert {path.parent for path in folder.rglob("*.*")} == {
        folder / "NORMAL",
        folder / "PNEUMONIA",
    }
    assert sum(path.is_file() for path in folder.rglob("*")) == 240
    assert set(again) <= set(bunch)


def test_images_are_shuffled(drawn):
    _, bunch = drawn
    assert 0 < bunch.target[:20].sum() < 20


def test_random_state_determines_bytes_and_order(tmp_path):
    made = []
    for name, seed in [("a", 7), ("b", np.random.RandomState(7)), ("c", 8)]:
        bunch = make_chest_xrays(6, tmp_path / name, image_size=48, random_state=seed)
        contents = [Path(path).read_bytes() for path in bunch.data[:, 0]]
        made.append(list(zip(relative(bunch, tmp_path / name), contents, strict=True)))
    assert made[0] == made[1]
    assert not {content for _, content in made[0]} & {content for _, content in made[2]}


def test_global_random_state_is_unchanged(tmp_path):
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    make_chest_xrays(3, tmp_path, image_size=32, random_state=0)
    load_chest_xrays(tmp_path)
    assert np.random.get_state()[1].tolist() == before


def test_patients_have_one_diagnosis_and_several_images(drawn):
    _, bunch = drawn
    for patient in set(bunch.groups):
        assert len(set(bunch.etiology[bunch.groups == patient])) == 1
    assert 1.6 < 240 / len(set(bunch.groups)) < 2.4
    numbers = {group.split("_")[0] for group in bunch.groups if group.startswith("person")}
    assert len(numbers) < len({group for group in bunch.groups if group.startswith("person")})


def test_one_image_per_patient(tmp_path):
    bunch = make_chest_xrays(12, tmp_path, images_per_patient=1, image_size=32)
    assert len(set(bunch.groups)) == 12


def test_images_of_a_patient_differ(tmp_path):
    bunch = make_chest_xrays(24, tmp_path, images_per_patient=4, image_size=64, random_state=1)
    contents = [image.tobytes() for image in pixels(bunch)]
    assert len(set(contents)) == 24


def test_bacterial_and_viral_pneumonias_are_generated(drawn):
    _, bunch = drawn
    kinds, counts = np.unique(bunch.etiology, return_counts=True)
    assert kinds.tolist() == ["bacteria", "normal", "virus"]
    assert counts.tolist() == [78, 120, 42]


def test_files_are_wide_gray_jpegs_without_metadata(drawn):
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


def test_images_have_many_shapes(drawn):
    _, bunch = drawn
    assert len({image.shape for image in pixels(bunch)}) > 20


def test_brightness_contrast_and_shape_do_not_reveal_the_label(drawn):
    _, bunch = drawn
    images = pixels(bunch)
    for measure in (np.mean, np.std, lambda image: image.shape[1]):
        area = roc_auc_score(bunch.target, [measure(image) for image in images])
        assert 0.35 < area < 0.65


def test_opacities_can_be_learned_and_difficulty_lowers_auc(tmp_path):
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


def test_boxes_are_inside_images_with_pneumonia_only(drawn):
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


def test_folder_with_images_raises_and_is_unchanged(tmp_path):
    touch(tmp_path / "flat", "normal/old.PNG")
    with pytest.raises(FileExistsError, match=r"1 image\(s\)"):
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


def contents(bunch):
    return [Path(path).read_bytes() for path in bunch.data[:, 0]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Generate 24 images with the default settings."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, make_chest_xrays(24, folder, image_size=64, random_state=0)


@pytest.mark.parametrize(
    ("parameters", "n_changed"),
    [
        ({"site": {}}, 0),
        ({"site": {"exposure": 0, "haze": 0.0, "zoom": 0, "blur": 0, "letter": "R"}}, 0),
        ({"shortcut": 0.5}, 12),
        ({"duplicates": 0.25}, 6),
        ({"pattern": "lobar"}, 12),
        ({"site": {"blur": 2}}, 24),
    ],
)
def test_parameter_changes_only_its_images(plain, tmp_path, parameters, n_changed):
    folder, bunch = plain
    changed = make_chest_xrays(24, tmp_path, image_size=64, random_state=0, masks=True, **parameters)
    assert relative(changed, tmp_path) == relative(bunch, folder)
    equal = [one == other for one, other in zip(contents(changed), contents(bunch), strict=True)]
    assert equal.count(False) == n_changed
    if "duplicates" not in parameters:
        assert [image.shape for image in pixels(changed)] == [image.shape for image in pixels(bunch)]


@pytest.mark.parametrize("pattern", ["patchy", "lobar", "perihilar", "diffuse"])
def test_pattern_determines_number_and_area_of_opacities(tmp_path, pattern):
    bunch = make_chest_xrays(
        30, tmp_path, pattern=pattern, prevalence=1, images_per_patient=1, image_size=64, masks=True, random_state=0
    )
    n_opacities = {len(boxes) for boxes in bunch.opacities}
    assert n_opacities == {"patchy": {1, 2}, "lobar": {1}, "perihilar": {2}, "diffuse": {2}}[pattern]
    area = np.mean([mask.any(axis=0).mean() for mask in bunch.masks])
    assert {"patchy": 0.03, "lobar": 0.02, "perihilar": 0.1, "diffuse": 0.13}[pattern] < area
    assert area < {"patchy": 0.06, "lobar": 0.06, "perihilar": 0.14, "diffuse": 0.25}[pattern]
    assert set(bunch.etiology) == {"bacteria", "virus"}


def test_masks_fill_their_boxes(tmp_path):
    bunch = make_chest_xrays(12, tmp_path, image_size=64, masks=True, random_state=0)
    for boxes, masks, image in zip(bunch.opacities, bunch.masks, pixels(bunch), strict=True):
        assert masks.shape == (len(boxes), *image.shape)
        assert masks.dtype == bool
        for (left, top, right, bottom), mask in zip(boxes, masks, strict=True):
            inside = mask[top:bottom, left:right]
            assert mask.sum() == inside.sum() > 0.3 * inside.size
            assert inside.any(axis=0)[[0, -1]].all()
            assert inside.any(axis=1)[[0, -1]].all()
    assert make_chest_xrays(2, tmp_path / "none", image_size=32).masks is None


def has_marker(image):
    height, width = image.shape
    return image[round(0.08 * height), round(width / 2 + 0.42 * height)] > 230


@pytest.mark.parametrize("shortcut", [0, 0.25, 0.5, 0.9, 1])
@pytest.mark.parametrize("prevalence", [0.5, 0.25])
def test_marker_agrees_with_the_diagnosis_in_a_proportion_of_each_class(tmp_path, shortcut, prevalence):
    bunch = make_chest_xrays(80, tmp_path, shortcut=shortcut, prevalence=prevalence, image_size=48, random_state=0)
    for label in (0, 1):
        assert (bunch.marker == bunch.target)[bunch.target == label].mean() == shortcut
    assert [has_marker(image) for image in pixels(bunch)] == bunch.marker.tolist()


def test_without_shortcut_no_image_has_the_marker(plain):
    _, bunch = plain
    assert not any(has_marker(image) for image in pixels(bunch))
    assert not bunch.marker.any()


@pytest.mark.parametrize("file_format", ["jpeg", "png16"])
def test_duplicates_are_found_by_check_splits(tmp_path, file_format):
    bunch = make_chest_xrays(
        40, tmp_path, duplicates=0.2, image_size=64, file_format=file_format, shortcut=0.8, random_state=0, masks=True
    )
    copies = np.flatnonzero(bunch.duplicate_of >= 0)
    originals = bunch.duplicate_of[copies]
    assert len(copies) == 8
    assert len({*copies, *originals}) == 16
    assert (bunch.etiology[copies] == bunch.etiology[originals]).all()
    assert (bunch.groups[copies] != bunch.groups[originals]).all()
    for copy, original in zip(copies, originals, strict=True):
        np.testing.assert_array_equal(bunch.opacities[copy], bunch.opacities[original])
        np.testing.assert_array_equal(bunch.masks[copy], bunch.masks[original])
        assert bunch.marker[copy] == bunch.marker[original]
    rest = np.setdiff1d(np.arange(40), copies)
    found = check_splits(bunch.data[rest], bunch.data[copies])
    kinds = {(overlap.train, overlap.test): overlap.kind for overlap in found if overlap.kind != "shared patient"}
    planted = [kinds.pop(tuple(bunch.data[[i, j], 0])) for i, j in zip(originals, copies, strict=True)]
    assert sorted(planted) == ["near duplicate"] * 4 + ["same file"] * 4
    assert not kinds


def test_shortcut_does_not_change_which_images_are_duplicates(tmp_path):
    settings = {"duplicates": 0.2, "image_size": 32, "random_state": 0}
    one, other = (
        make_chest_xrays(20, tmp_path / str(shortcut), shortcut=shortcut, **settings) for shortcut in (None, 0.7)
    )
    assert one.duplicate_of.tolist() == other.duplicate_of.tolist()


def test_too_few_patients_for_duplicates_raise(tmp_path):
    with pytest.raises(ValueError, match=r"duplicates is 2 of 4 images, but only 1 of them .* Decrease duplicates"):
        make_chest_xrays(4, tmp_path, duplicates=0.5, images_per_patient=1, image_size=32, random_state=0)


@pytest.mark.parametrize("file_format", ["jpeg", "png16", "dicom"])
def test_formats_hold_the_same_images_in_the_same_order(plain, tmp_path, file_format):
    if file_format == "dicom":
        pydicom = pytest.importorskip("pydicom")
    folder, bunch = plain
    made = [
        make_chest_xrays(24, tmp_path / name, file_format=file_format, image_size=64, random_state=0) for name in "ab"
    ]
    assert contents(made[0]) == contents(made[1])
    suffixes = {Path(path).suffix for path in made[0].data[:, 0]}
    assert suffixes == {{"jpeg": ".jpeg", "png16": ".png", "dicom": ".dcm"}[file_format]}
    stems = [
        [Path(name).with_suffix("") for name in relative(*each)]
        for each in [(bunch, folder), (made[0], tmp_path / "a")]
    ]
    assert stems[0] == stems[1]
    assert made[0].groups.tolist() == bunch.groups.tolist()
    for path, expected in zip(made[0].data[:, 0], pixels(bunch), strict=True):
        if file_format == "dicom":
            gray = pydicom.dcmread(path).pixel_array / 4095
        else:
            with Image.open(path) as image:
                gray = np.asarray(image) / (255 if file_format == "jpeg" else 65535)
        assert np.abs(255 * gray - expected).mean() < 4  # loss of the JPEG files


def test_folder_with_dicom_files_raises(tmp_path):
    pytest.importorskip("pydicom")
    make_chest_xrays(2, tmp_path, image_size=32, file_format="dicom")
    with pytest.raises(FileExistsError):
        make_chest_xrays(2, tmp_path, image_size=32)


def test_target_and_containers_match_the_loader(tmp_path):
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
        ({"pattern": "round"}, ValueError),
        ({"file_format": "gif"}, ValueError),
        ({"site": "other"}, TypeError),
        ({"site": {"exposure": 1}}, ValueError),
        ({"shortcut": 1.5}, ValueError),
        ({"shortcut": float("nan")}, ValueError),
        ({"duplicates": 0.6}, ValueError),
        ({"duplicates": 0.5}, ValueError),
        ({"masks": True, "return_X_y": True}, ValueError),
    ],
)
def test_invalid_parameter_raises_before_writing(tmp_path, parameters, error):
    with pytest.raises(error, match=next(iter(parameters))):
        make_chest_xrays(**{"n_samples": 4, "folder": tmp_path / "new", **parameters})
    assert not (tmp_path / "new").exists()
