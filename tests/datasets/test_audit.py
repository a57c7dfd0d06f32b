import sys

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from scipy import ndimage

from skpneumo.datasets import audit_xrays, make_chest_xrays

N = 24  # images, one per patient
LABELS = np.arange(N) % 2


def exif():
    data = Image.Exif()
    data[ExifTags.Base.Make] = "a maker"
    return data.tobytes()


def png_text():
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "taken upright")
    return text


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def framed(image):
    wide = Image.new("L", image.size)
    wide.paste(image.resize((40, 40)), (12, 12))
    return wide


def deep(image):
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def write(folder, change, options, file_format="JPEG"):
    """Write images of noise; those of label 1 differ by a change of the image or by options of the file."""
    random, paths = np.random.RandomState(0), []
    for i, label in enumerate(LABELS):
        noise = ndimage.gaussian_filter(random.rand(64, 64), 2)
        pixels = 40 + 160 * (noise - noise.min()) / np.ptp(noise)
        image = Image.fromarray(pixels.astype(np.uint8))
        path = folder / f"{i}.img"
        made = change(image) if label and change else image
        made.save(path, **({"format": file_format} | (options if label and options else {})))
        paths.append(path)
    return paths


SHORTCUTS = {
    "width": (lambda image: image.resize((72, 64)), None),
    "height": (lambda image: image.resize((64, 72)), None),
    "aspect ratio": (lambda image: image.resize((72, 64)), None),
    "colour mode: RGB": (lambda image: image.convert("RGB"), None),
    "margin": (framed, None),
    "JPEG quantisation": (None, {"quality": 60}),
    "progressive": (None, {"progressive": True}),
    "EXIF data": (None, {"exif": exif()}),
    "ICC profile": (None, {"icc_profile": profile()}),
    "text": (None, {"comment": b"taken upright"}),
    "dots per inch": (None, {"dpi": (300, 300)}),
    "format: PNG": (None, {"format": "PNG"}),
}


@pytest.mark.parametrize("check", SHORTCUTS)
def test_planted_shortcut_is_suspicious_and_other_attributes_are_not(check, tmp_path):
    report = audit_xrays(write(tmp_path, *SHORTCUTS[check]), LABELS).set_index("check")
    assert report.loc[check, "verdict"] == "suspicious"
    assert report.loc[check, "auc"] == 1
    assert 0.5 < report.loc[check, "lower"] < report.loc[check, "upper"] == 1
    assert report.loc["bit depth", "verdict"] == "the same in all"
    assert report.loc["bit depth", "auc"] == 0.5
    assert report.loc["mean gray", "verdict"] != "suspicious"


def test_bit_depth_and_text_of_png_are_checked(tmp_path):
    report = audit_xrays(write(tmp_path, deep, {"pnginfo": png_text()}, "PNG"), LABELS).set_index("check")
    assert set(report.loc[["bit depth", "text"], "verdict"]) == {"suspicious"}


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("mean gray", lambda image: image.point(lambda value: value + 40)),
        ("contrast", lambda image: image.point(lambda value: 60 + value // 2)),
        ("black pixels", lambda image: image.point(lambda value: max(0, value - 100))),
        ("white pixels", lambda image: image.point(lambda value: min(255, value + 120))),
    ],
)
def test_exposure_difference_is_reported_but_not_as_a_shortcut(check, change, tmp_path):
    report = audit_xrays(write(tmp_path, change, None, "PNG"), LABELS).set_index("check")
    assert report.loc[check, "verdict"] == "differs; disease may explain it"
    assert "suspicious" not in set(report["verdict"])


def test_synthetic_images_have_no_shortcut(tmp_path):
    xrays = make_chest_xrays(120, tmp_path, image_size=64, images_per_patient=1, random_state=0)
    report = audit_xrays(xrays.data, xrays.target, n_jobs=2)
    assert not set(report.loc[report["kind"] == "attribute", "verdict"]) - {"nothing found", "the same in all"}
    assert list(report.columns) == ["check", "kind", "n", "auc", "lower", "upper", "verdict", "images"]


def test_intervals_widen_with_fewer_patients(tmp_path):
    paths = write(tmp_path, None, {"exif": exif()})
    own = audit_xrays(paths, LABELS).set_index("check")
    few = audit_xrays(paths, LABELS, groups=np.arange(N) % 4).set_index("check")
    assert own.loc["EXIF data", "verdict"] == "suspicious"
    assert few.loc["EXIF data", "verdict"] == "nothing found"
    assert few.loc["EXIF data", "auc"] == 1


def test_intervals_match_newcombe():
    from skpneumo.datasets._audit import _interval

    # At each end, the squared error is z squared times the variance of Hanley and McNeil at that AUC.
    for auc, m, n in ((0.7, 20, 30), (0.95, 8, 5)):
        for end in _interval(auc, m, n, 1.96):
            q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
            mean = (m + n) / 2 - 1
            variance = (end * (1 - end) + mean * (q1 - end**2) + mean * (q2 - end**2)) / (m * n)
            assert (auc - end) ** 2 == pytest.approx(1.96**2 * variance, rel=1e-6)


def test_more_than_two_classes_are_compared_one_vs_rest(tmp_path):
    paths = write(tmp_path, None, {"icc_profile": profile()})
    words = np.where(LABELS == 1, "virus", np.where(np.arange(N) % 4 == 0, "normal", "bacteria"))
    report = audit_xrays(paths, pd.Series(words)).set_index("check")
    assert report.loc["ICC profile", "verdict"] == "suspicious"
    assert report.loc["ICC profile", "auc"] == 1


def findings(report):
    report = report[report["kind"] == "finding"]
    return {check: list(zip(rows["verdict"], rows["images"], strict=True)) for check, rows in report.groupby("check")}


def test_unreadable_blank_and_small_files_are_found(tmp_path):
    paths = [str(path) for path in write(tmp_path, None, None)]
    note, blank = tmp_path / "note.png", tmp_path / "blank.png"
    note.write_text("no image")
    Image.new("L", (300, 300), 90).save(blank)
    report = audit_xrays([*paths, note, "missing.png", blank], [*LABELS, 0, 1, 1])
    found = findings(report)
    assert found["unreadable"][0][1] == [str(note)]
    assert found["unreadable"][1] == ("no such file", ["missing.png"])
    assert found["blank"][0][1] == [str(blank)]
    assert found["small"][0][1] == paths
    assert set(report.loc[report["kind"] == "attribute", "n"]) == {N + 1}


def test_duplicates_are_found_with_their_labels(tmp_path):
    paths = [str(path) for path in write(tmp_path, None, None, "PNG")]
    same, near = tmp_path / "same.bmp", tmp_path / "near.jpg"
    with Image.open(paths[0]) as first, Image.open(paths[1]) as second:
        first.save(same)
        second.save(near, quality=60)
    found = findings(audit_xrays([*paths, same, near], [*LABELS, 1, 1]))
    assert found["same pixels"] == [("labels differ: 0, 1", [paths[0], str(same)])]
    assert found["near duplicate"] == [("one label", [paths[1], str(near)])]


def test_patient_with_several_labels_is_found(tmp_path):
    paths = [str(path) for path in write(tmp_path, None, None)]
    groups = [None, "a", "a", "b", float("nan"), "b", *range(N - 6)]
    found = findings(audit_xrays(paths, LABELS, groups=groups))
    assert found["patient with several labels"] == [("labels: 0, 1", paths[1:3])]


def test_findings_are_reported_if_nothing_can_be_compared(tmp_path):
    report = audit_xrays(["a.png", "b.png"], [0, 1])
    assert list(report["check"]) == ["unreadable", "unreadable"]
    paths = write(tmp_path, None, None)[:3:2]
    report = audit_xrays([*paths, "b.png"], [0, 0, 1])
    assert set(report.loc[report["kind"] == "attribute", "verdict"]) == {
        "not compared: only images of one class can be read"
    }


def test_invalid_input_raises():
    with pytest.raises(ValueError, match="got only the class 0"):
        audit_xrays(["a.png", "b.png"], [0, 0])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        audit_xrays(["a.png", "b.png"], [0, 1, 1])
    with pytest.raises(ValueError, match="got a ndarray without paths"):
        audit_xrays(np.eye(2), [0, 1])


def test_missing_pandas_raises_with_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        audit_xrays(["a.png", "b.png"], [0, 1])


def test_rare_mark_is_reported_only_if_in_one_class(tmp_path):
    names = [f"{i}.png" for i in range(30)]
    y = np.arange(30) % 2
    marked = {1, 3, 5}
    for i, name in enumerate(names):
        image = Image.fromarray(np.random.RandomState(i).randint(0, 256, (40, 40), np.uint8))
        image.convert("RGB" if i in marked else "L").save(tmp_path / name)
    paths = [tmp_path / name for name in names]
    assert audit_xrays(paths, y).set_index("check").loc["colour mode: RGB", "verdict"] == "in one class alone"
    mixed = np.where(np.arange(30) == 3, 0, y)
    assert audit_xrays(paths, mixed).set_index("check").loc["colour mode: RGB", "verdict"] == "nothing found"


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_label_raises_with_its_position(missing):
    with pytest.raises(ValueError, match="missing at positions 2"):
        audit_xrays(["a.png", "b.png", "c.png"], np.array([0, 1, missing], object))


def test_empty_paths_raise():
    with pytest.raises(ValueError, match="paths must contain paths of images"):
        audit_xrays([], [])
