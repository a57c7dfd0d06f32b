"""Tests of the script: rows, interruption at any byte, and errors."""

import csv
import errno
import os
import re
import shutil
import sys

import joblib
import numpy as np
import pydicom
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import score_folder
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays

TINY = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2}
ODD_NAMES = ["=1+1.png", "a, b.png", 'say "x".png', "two\nlines.png", "sub folder/\u00fc.PNG", "\\.png"]


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xrays")
    X, y = make_chest_xrays(16, folder, image_size=48, difficulty=0, random_state=0, return_X_y=True)
    return X.ravel().tolist(), y


@pytest.fixture(scope="module")
def clf(xrays):
    return PneumoniaClassifier(**TINY, memory=None).fit(*xrays)


@pytest.fixture(scope="module")
def model(clf, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(clf, path)
    return path


@pytest.fixture(scope="module")
def folder(xrays, tmp_path_factory):
    """Create images with odd names, a file that is not an image, and files that are skipped."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "sub folder").mkdir()
    for name, path in zip(ODD_NAMES, xrays[0], strict=False):
        shutil.copy(path, folder / name)
    (folder / "no image.jpg").write_bytes(b"<html>")
    (folder / "notes.txt").write_text("notes")
    shutil.copy(xrays[0][0], folder / ".hidden.png")
    return folder


@pytest.fixture
def images(xrays, tmp_path):
    """Create two readable images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, path in zip("ab", xrays[0], strict=False):
        shutil.copy(path, folder / f"{name}.png")
    return folder


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["score_folder.py", "--batch-size", "2", *map(str, arguments)])
    return score_folder.main()


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scores(tmp_path):
    return tmp_path / "scores.csv"


def test_each_image_has_a_row_with_its_predictions(model, clf, folder, scores, monkeypatch):
    assert run_script(monkeypatch, model, folder, scores) == 1
    rows = {row["file"]: row for row in read(scores)}
    assert set(rows) == {f"./{name}" for name in [*ODD_NAMES, "no image.jpg"]}
    for name in ODD_NAMES:
        row, path = rows[f"./{name}"], [str(folder / name)]
        probabilities = [float(row["probability_0"]), float(row["probability_1"])]
        np.testing.assert_allclose([probabilities], clf.predict_proba(path), atol=1e-4)
        assert row["call"] == str(clf.predict(path)[0])
        assert 0 < float(row["novelty"]) <= 1
        assert (row["error"], len(row["model"])) == ("", 64)


def test_unreadable_image_has_a_reason_and_is_counted(model, folder, scores, monkeypatch, capsys):
    run_script(monkeypatch, model, folder, scores)
    (row,) = [row for row in read(scores) if row["error"]]
    assert (row["file"], row["probability_0"], row["call"]) == ("./no image.jpg", "", "")
    assert "not an image" in row["error"]
    assert "1 of 7 images could not be read" in capsys.readouterr().err


def test_exit_status_is_0_if_all_images_are_readable(model, xrays, scores, monkeypatch):
    assert run_script(monkeypatch, model, os.path.dirname(os.path.dirname(xrays[0][0])), scores) == 0
    assert len(read(scores)) == 16


HOSTILE = [
    "=1+1|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "a;=1+1",
    "a; ;-1;'=1",
    "'=1",
    "''",
    "a,+1",
    "a\t@1\t\t-1",
    'a";"=1',
    "\uff1d1",
]


@pytest.mark.parametrize("text", [*HOSTILE, "", "normal", "it's, so - to say; fine"])
def test_text_of_a_cell_is_restored(text):
    assert score_folder.original(score_folder.safe(text)) == text
    assert (score_folder.safe(text) == text) == (text not in HOSTILE)


def test_different_texts_have_different_cells():
    texts = {*HOSTILE, *map(score_folder.safe, HOSTILE)}
    assert len(set(map(score_folder.safe, texts))) == len(texts)


def test_no_cell_is_a_formula(xrays, scores, monkeypatch, tmp_path):
    folder, labels = tmp_path / "hostile", HOSTILE[::3]
    folder.mkdir()
    names = {f"{text}.png".replace("/", "") for text in HOSTILE}
    for name in names:
        shutil.copy(xrays[0][0], folder / name)
    (folder / "a;=2.png").write_bytes(b"<html>")
    X, y = xrays[0], np.array(labels)[np.arange(16) % len(labels)]
    clf = PneumoniaClassifier(**TINY, n_views=1, memory=None).fit(X, y)
    joblib.dump(clf, tmp_path / "hostile.joblib")
    assert run_script(monkeypatch, tmp_path / "hostile.joblib", folder, scores) == 1
    rows = read(scores)
    assert {score_folder.original(row["file"]) for row in rows} == {f"./{name}" for name in [*names, "a;=2.png"]}
    assert {score_folder.original(name) for name in rows[0]} >= {f"probability_{label}" for label in labels}
    paths = [str(folder / score_folder.original(row["file"])) for row in rows if not row["error"]]
    calls = [score_folder.original(row["call"]) for row in rows if not row["error"]]
    assert calls == clf.predict(paths).tolist()
    cells = re.split("[,;\\t\\r\\n]", scores.read_bytes().decode())  # as a spreadsheet might, whatever its settings
    assert not [each for each in cells if re.match('[" ]*[=+@\uff1d-]', each)]


def test_run_interrupted_at_any_byte_continues_without_lost_or_repeated_rows(
    model, folder, scores, monkeypatch, tmp_path
):
    run_script(monkeypatch, model, folder, scores)
    whole = scores.read_bytes()
    expected = {row["file"]: tuple(row.values()) for row in read(scores)}

    def stored_rows(model, paths):  # the network is slow
        names = [f"./{os.path.relpath(path, folder)}" for path in paths]
        return [list(expected[name])[1:-1] for name in names]

    clf = score_folder.load(model)
    monkeypatch.setattr(score_folder, "score", stored_rows)
    monkeypatch.setattr(score_folder, "load", lambda path: clf)
    monkeypatch.setattr(score_folder, "check", lambda model: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    broken = tmp_path / "broken.csv"
    for n_bytes in [*range(0, len(whole), 5), *range(len(whole) - 90, len(whole))]:
        broken.write_bytes(whole[:n_bytes])
        run_script(monkeypatch, model, folder, broken)
        # The image with an error is retried, and its row is written last.
        assert sorted(broken.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert sorted(tuple(row.values()) for row in read(broken)) == sorted(expected.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.csv", "scores.csv"]


def test_finished_rows_are_not_scored_again(model, images, scores, monkeypatch):
    run_script(monkeypatch, model, images, scores)
    whole = scores.read_bytes()
    monkeypatch.setattr(score_folder, "score", None)
    assert run_script(monkeypatch, model, images, scores) == 0
    assert scores.read_bytes() == whole


def test_image_with_an_error_is_retried(model, xrays, images, scores, monkeypatch):
    (images / "a.png").write_bytes(b"<html>")
    assert run_script(monkeypatch, model, images, scores) == 1
    shutil.copy(xrays[0][0], images / "a.png")
    assert run_script(monkeypatch, model, images, scores) == 0
    assert sorted((row["file"], row["error"]) for row in read(scores)) == [("./a.png", ""), ("./b.png", "")]


def test_new_images_are_added(model, xrays, scores, monkeypatch, tmp_path):
    images = tmp_path / "later"
    images.mkdir()
    for name, path in zip("ba", xrays[0], strict=False):
        shutil.copy(path, images / f"{name}.png")
        assert run_script(monkeypatch, model, images, scores) == 0
    assert [row["file"] for row in read(scores)] == ["./b.png", "./a.png"]


def test_scores_of_another_model_raise(model, xrays, folder, scores, monkeypatch, tmp_path, capsys):
    run_script(monkeypatch, model, folder, scores)
    whole = scores.read_bytes()
    joblib.dump(PneumoniaClassifier(**TINY, alpha=1.0, memory=None).fit(*xrays), tmp_path / "other.joblib")
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, tmp_path / "other.joblib", folder, scores)
    assert "was written with the model" in capsys.readouterr().err
    assert scores.read_bytes() == whole


@pytest.mark.parametrize(
    "others",
    [b"patient,diagnosis\r\n1,0\r\n", b"patient,diagnosis", b"x", b"x\n", b"\n", b'{"a": 1}\n', b"\xff\xd8\xff\x00"],
)
def test_other_file_raises_and_is_unchanged(others, model, images, scores, monkeypatch, capsys):
    scores.write_bytes(others)
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, model, images, scores)
    assert "Choose another file" in capsys.readouterr().err
    assert scores.read_bytes() == others


def test_invalid_csv_raises_and_is_unchanged(model, images, scores, monkeypatch, capsys):
    others = b"x" * (csv.field_size_limit() + 1)
    scores.write_bytes(others)
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, model, images, scores)
    assert "Choose another file" in capsys.readouterr().err
    assert scores.read_bytes() == others


def test_rows_of_other_length_raise_and_are_unchanged(model, images, scores, monkeypatch, capsys):
    run_script(monkeypatch, model, images, scores)
    head, *rows = scores.read_bytes().splitlines(keepends=True)
    others = b"".join([head, b"\r\n", *rows])
    scores.write_bytes(others)
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, model, images, scores)
    assert "Choose another file" in capsys.readouterr().err
    assert scores.read_bytes() == others


def test_second_run_on_the_same_file_raises(model, images, scores, monkeypatch, capsys):
    pytest.importorskip("fcntl")
    score = score_folder.score

    def start_second_run(*arguments):
        monkeypatch.setattr(score_folder, "score", score)
        with pytest.raises(SystemExit, match="2"):
            run_script(monkeypatch, model, images, scores)
        return score(*arguments)

    monkeypatch.setattr(score_folder, "score", start_second_run)
    assert run_script(monkeypatch, model, images, scores) == 0
    assert "is being written by another run" in capsys.readouterr().err
    assert len(read(scores)) == 2
    assert sorted(path.name for path in scores.parent.iterdir()) == ["images", "scores.csv"]


def test_lock_of_an_interrupted_run_has_no_effect(model, images, scores, monkeypatch, tmp_path):
    (tmp_path / "scores.csv.skpneumo-lock").touch()
    assert run_script(monkeypatch, model, images, scores) == 0


def test_model_that_cannot_score_images_raises_before_writing(images, scores, monkeypatch, tmp_path, capsys):
    X, y = make_classification(20, 8, random_state=0)
    joblib.dump(PneumoniaClassifier(**TINY, memory=None).fit(X, y), tmp_path / "features.joblib")
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, tmp_path / "features.joblib", images, scores)
    assert "The model cannot score images: " in capsys.readouterr().err
    assert not scores.exists()


def test_unexpected_error_has_exit_status_2(model, images, scores, monkeypatch, capsys):
    def broken(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(score_folder, "write_rows", broken)
    assert run_script(monkeypatch, model, images, scores) == 2
    assert "RuntimeError: out of memory" in capsys.readouterr().err


def test_invalid_utf8_name_and_its_escaped_form_have_two_rows(model, xrays, scores, monkeypatch, tmp_path):
    names = [b"\xff.png", b"\\udcff.png", b"\\\xff.png", b"\\\\udcff.png"]
    folder = tmp_path / "bytes"
    folder.mkdir()
    try:
        for name in names:
            shutil.copy(xrays[0][0], os.path.join(os.fsencode(folder), name))
    except OSError:
        pytest.skip("the file system does not support such names")
    assert run_script(monkeypatch, model, folder, scores) == 0
    cells = [r"./\udcff.png", r"./\\udcff.png", r".//\udcff.png", r".//\\\udcff.png"]
    assert sorted(row["file"] for row in read(scores)) == sorted(cells)


def test_file_name_like_a_url_is_read_as_a_file(model, xrays, scores, monkeypatch, tmp_path):
    folder = tmp_path / "urls"
    folder.mkdir()
    try:
        shutil.copy(xrays[0][0], folder / "memory::a.png")
    except OSError:
        pytest.skip("the file system does not support such names")
    monkeypatch.chdir(folder)
    assert run_script(monkeypatch, model, ".", scores) == 0
    assert [row["file"] for row in read(scores)] == ["./memory::a.png"]


def test_dicom_is_scored(model, clf, images, scores, monkeypatch):
    path = pydicom.data.get_testdata_file("MR_small.dcm", download=False)
    shutil.copy(path, images / "scan.DCM")
    assert run_script(monkeypatch, model, images, scores) == 0
    row = next(row for row in read(scores) if row["file"] == "./scan.DCM")
    assert float(row["probability_1"]) == pytest.approx(clf.predict_proba([path])[0, 1], abs=1e-4)


def test_skipped_files_are_counted(model, images, scores, monkeypatch, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (images / "link").symlink_to(tmp_path / "elsewhere")
    (images / ".hidden").mkdir()
    for name in ["a.pdf", "b.PDF", "README", ".b.png"]:
        (images / name).touch()
    assert run_script(monkeypatch, model, images, scores) == 0
    message = "Skipped: 2 .pdf, 1 hidden, 1 hidden folder, 1 linked folder, 1 without suffix."
    assert message in capsys.readouterr().err


def test_unreadable_folder_raises(model, images, scores, monkeypatch, capsys):
    (images / "closed").mkdir()
    scandir = os.scandir

    def closed(path):  # a test run as root can read every folder
        if os.path.basename(path) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, model, images, scores)
    assert "closed" in capsys.readouterr().err
    assert not scores.exists()


@pytest.mark.parametrize(("name", "reason"), [("nowhere", "does not exist"), ("a.png", "is not a folder")])
def test_invalid_folder_raises(name, reason, model, images, scores, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, model, images / name, scores)
    assert f"{name} {reason}" in capsys.readouterr().err


def test_folder_without_images_raises(model, scores, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_script(monkeypatch, model, tmp_path, scores)
    assert "contains no image" in capsys.readouterr().err
    assert not scores.exists()


@pytest.mark.parametrize("kind", ["search", "pipeline", "views"])
def test_meta_estimators_predict_the_same_and_store_nothing(kind, xrays, folder, scores, monkeypatch, tmp_path):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "cache"))
    estimator = {
        "search": GridSearchCV(PneumoniaClassifier(**TINY), {"alpha": [0.05]}, cv=2, scoring="roc_auc"),
        "pipeline": make_pipeline(VGG19Features(**TINY), LogisticRegression(max_iter=10_000)),
        "views": PneumoniaClassifier(**TINY, n_views_predict=2),
    }[kind].fit(*xrays)
    joblib.dump(estimator, tmp_path / "model.joblib")
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "never"))
    run_script(monkeypatch, tmp_path / "model.joblib", folder, scores)
    assert not (tmp_path / "never").exists()
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "cache"))
    rows = [row for row in read(scores) if not row["error"]]
    expected = estimator.predict_proba([str(folder / row["file"]) for row in rows])
    probabilities = [[float(row["probability_0"]), float(row["probability_1"])] for row in rows]
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
