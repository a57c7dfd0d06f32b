"""The script: a row an image whatever its name, killed at any byte and gone on with, and what it refuses."""

import csv
import errno
import os
import shutil
import sys

import joblib
import numpy as np
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
    """Films under odd names, one that is none, and files that are passed over."""
    folder = tmp_path_factory.mktemp("films")
    (folder / "sub folder").mkdir()
    for name, path in zip(ODD_NAMES, xrays[0], strict=False):
        shutil.copy(path, folder / name)
    (folder / "no film.jpg").write_bytes(b"<html>")
    (folder / "notes.txt").write_text("notes")
    shutil.copy(xrays[0][0], folder / ".hidden.png")
    return folder


@pytest.fixture
def films(xrays, tmp_path):
    """Two films that can be read."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name, path in zip("ab", xrays[0], strict=False):
        shutil.copy(path, folder / f"{name}.png")
    return folder


def score(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["score_folder.py", "--batch-size", "2", *map(str, arguments)])
    return score_folder.main()


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scores(tmp_path):
    return tmp_path / "scores.csv"


def test_each_image_has_a_row_with_what_the_model_says_of_it(model, clf, folder, scores, monkeypatch):
    assert score(monkeypatch, model, folder, scores) == 1
    rows = {row["file"]: row for row in read(scores)}
    assert set(rows) == {f"./{name}" for name in [*ODD_NAMES, "no film.jpg"]}
    for name in ODD_NAMES:
        row, path = rows[f"./{name}"], [str(folder / name)]
        said = [float(row["probability_0"]), float(row["probability_1"])]
        np.testing.assert_allclose([said], clf.predict_proba(path), atol=1e-4)
        assert row["call"] == str(clf.predict(path)[0])
        assert 0 < float(row["novelty"]) <= 1
        assert (row["error"], len(row["model"])) == ("", 64)


def test_an_image_that_cannot_be_read_has_a_reason_and_is_counted(model, folder, scores, monkeypatch, capsys):
    score(monkeypatch, model, folder, scores)
    (row,) = [row for row in read(scores) if row["error"]]
    assert (row["file"], row["probability_0"], row["call"]) == ("./no film.jpg", "", "")
    assert "not an image" in row["error"]
    assert "1 of 7 images could not be read" in capsys.readouterr().err


def test_readable_images_alone_end_with_0(model, xrays, scores, monkeypatch):
    assert score(monkeypatch, model, os.path.dirname(os.path.dirname(xrays[0][0])), scores) == 0
    assert len(read(scores)) == 16


def test_no_name_makes_a_formula(model, folder, scores, monkeypatch):
    score(monkeypatch, model, folder, scores)
    assert all(row["file"].startswith("./") for row in read(scores))


def test_killed_at_any_byte_and_started_again_no_row_is_lost_doubled_or_broken(
    model, folder, scores, monkeypatch, tmp_path
):
    score(monkeypatch, model, folder, scores)
    whole = scores.read_bytes()
    said = {row["file"]: tuple(row.values()) for row in read(scores)}

    def again(model, paths):  # what the network says does not change, and takes long
        names = [f"./{os.path.relpath(path, folder)}" for path in paths]
        return [list(said[name])[1:-1] for name in names]

    loaded = score_folder.loaded(model)
    monkeypatch.setattr(score_folder, "scored", again)
    monkeypatch.setattr(score_folder, "loaded", lambda path: loaded)
    monkeypatch.setattr(score_folder, "check", lambda model: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    broken = tmp_path / "broken.csv"
    for n_bytes in [*range(0, len(whole), 5), *range(len(whole) - 90, len(whole))]:
        broken.write_bytes(whole[:n_bytes])
        score(monkeypatch, model, folder, broken)
        # The row with an error is tried again, and comes last then.
        assert sorted(broken.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert sorted(tuple(row.values()) for row in read(broken)) == sorted(said.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.csv", "scores.csv"]


def test_what_is_written_is_not_scored_again(model, films, scores, monkeypatch):
    score(monkeypatch, model, films, scores)
    whole = scores.read_bytes()
    monkeypatch.setattr(score_folder, "scored", None)
    assert score(monkeypatch, model, films, scores) == 0
    assert scores.read_bytes() == whole


def test_an_image_with_an_error_is_tried_again(model, xrays, films, scores, monkeypatch):
    (films / "a.png").write_bytes(b"<html>")
    assert score(monkeypatch, model, films, scores) == 1
    shutil.copy(xrays[0][0], films / "a.png")
    assert score(monkeypatch, model, films, scores) == 0
    assert sorted((row["file"], row["error"]) for row in read(scores)) == [("./a.png", ""), ("./b.png", "")]


def test_images_that_came_later_are_added(model, xrays, scores, monkeypatch, tmp_path):
    films = tmp_path / "later"
    films.mkdir()
    for name, path in zip("ba", xrays[0], strict=False):
        shutil.copy(path, films / f"{name}.png")
        assert score(monkeypatch, model, films, scores) == 0
    assert [row["file"] for row in read(scores)] == ["./b.png", "./a.png"]


def test_another_model_does_not_go_on(model, xrays, folder, scores, monkeypatch, tmp_path, capsys):
    score(monkeypatch, model, folder, scores)
    whole = scores.read_bytes()
    joblib.dump(PneumoniaClassifier(**TINY, alpha=1.0, memory=None).fit(*xrays), tmp_path / "other.joblib")
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, tmp_path / "other.joblib", folder, scores)
    assert "was begun by the model" in capsys.readouterr().err
    assert scores.read_bytes() == whole


@pytest.mark.parametrize(
    "others",
    [b"patient,diagnosis\r\n1,0\r\n", b"patient,diagnosis", b"x", b"x\n", b"\n", b'{"a": 1}\n', b"\xff\xd8\xff\x00"],
)
def test_a_file_of_something_else_is_left_alone(others, model, films, scores, monkeypatch, capsys):
    scores.write_bytes(others)
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, model, films, scores)
    assert "name another file" in capsys.readouterr().err
    assert scores.read_bytes() == others


def test_a_file_that_is_no_csv_is_left_alone(model, films, scores, monkeypatch, capsys):
    others = b"x" * (csv.field_size_limit() + 1)
    scores.write_bytes(others)
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, model, films, scores)
    assert "name another file" in capsys.readouterr().err
    assert scores.read_bytes() == others


def test_rows_of_another_shape_are_left_alone(model, films, scores, monkeypatch, capsys):
    score(monkeypatch, model, films, scores)
    head, *rows = scores.read_bytes().splitlines(keepends=True)
    others = b"".join([head, b"\r\n", *rows])
    scores.write_bytes(others)
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, model, films, scores)
    assert "name another file" in capsys.readouterr().err
    assert scores.read_bytes() == others


def test_a_second_run_on_the_same_file_is_refused(model, films, scores, monkeypatch, capsys):
    pytest.importorskip("fcntl")
    scored = score_folder.scored

    def second(*arguments):
        monkeypatch.setattr(score_folder, "scored", scored)
        with pytest.raises(SystemExit, match="2"):
            score(monkeypatch, model, films, scores)
        return scored(*arguments)

    monkeypatch.setattr(score_folder, "scored", second)
    assert score(monkeypatch, model, films, scores) == 0
    assert "is being written by another run" in capsys.readouterr().err
    assert len(read(scores)) == 2
    assert sorted(path.name for path in scores.parent.iterdir()) == ["films", "scores.csv"]


def test_the_lock_of_a_killed_run_stops_nobody(model, films, scores, monkeypatch, tmp_path):
    (tmp_path / "scores.csv.skpneumo-lock").touch()
    assert score(monkeypatch, model, films, scores) == 0


def test_a_model_that_cannot_score_images_is_refused_before_the_file_is_begun(
    films, scores, monkeypatch, tmp_path, capsys
):
    X, y = make_classification(20, 8, random_state=0)
    joblib.dump(PneumoniaClassifier(**TINY, memory=None).fit(X, y), tmp_path / "features.joblib")
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, tmp_path / "features.joblib", films, scores)
    assert "The model cannot score images: " in capsys.readouterr().err
    assert not scores.exists()


def test_an_error_that_nobody_expects_is_told_from_images_that_cannot_be_read(
    model, films, scores, monkeypatch, capsys
):
    def broken(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(score_folder, "write_all", broken)
    assert score(monkeypatch, model, films, scores) == 2
    assert "RuntimeError: out of memory" in capsys.readouterr().err


def test_a_name_that_is_no_utf8_and_one_that_looks_like_its_escape_have_two_rows(
    model, xrays, scores, monkeypatch, tmp_path
):
    names = [b"\xff.png", b"\\udcff.png", b"\\\xff.png", b"\\\\udcff.png"]
    folder = tmp_path / "bytes"
    folder.mkdir()
    try:
        for name in names:
            shutil.copy(xrays[0][0], os.path.join(os.fsencode(folder), name))
    except OSError:
        pytest.skip("this file system takes no such name")
    assert score(monkeypatch, model, folder, scores) == 0
    cells = [r"./\udcff.png", r"./\\udcff.png", r".//\udcff.png", r".//\\\udcff.png"]
    assert sorted(row["file"] for row in read(scores)) == sorted(cells)


def test_a_name_in_the_current_folder_is_no_url(model, xrays, scores, monkeypatch, tmp_path):
    folder = tmp_path / "urls"
    folder.mkdir()
    try:
        shutil.copy(xrays[0][0], folder / "memory::a.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    monkeypatch.chdir(folder)
    assert score(monkeypatch, model, ".", scores) == 0
    assert [row["file"] for row in read(scores)] == ["./memory::a.png"]


def test_what_is_passed_over_is_counted(model, films, scores, monkeypatch, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (films / "link").symlink_to(tmp_path / "elsewhere")
    (films / ".hidden").mkdir()
    for name in ["a.dcm", "b.DCM", "README", ".b.png"]:
        (films / name).touch()
    assert score(monkeypatch, model, films, scores) == 0
    said = "Passed over: 2 .dcm, 1 hidden, 1 hidden folder, 1 linked folder, 1 without suffix."
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_not_missed_in_silence(model, films, scores, monkeypatch, capsys):
    (films / "closed").mkdir()
    scandir = os.scandir

    def closed(path):  # root may read every folder
        if os.path.basename(path) == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, model, films, scores)
    assert "closed" in capsys.readouterr().err
    assert not scores.exists()


@pytest.mark.parametrize(("name", "reason"), [("nowhere", "does not exist"), ("a.png", "is no folder")])
def test_a_folder_that_is_none_is_named(name, reason, model, films, scores, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, model, films / name, scores)
    assert f"{name} {reason}" in capsys.readouterr().err


def test_a_folder_without_images_is_named(model, scores, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        score(monkeypatch, model, tmp_path, scores)
    assert "holds no image" in capsys.readouterr().err
    assert not scores.exists()


@pytest.mark.parametrize("kind", ["search", "pipeline", "views"])
def test_models_around_the_classifier_say_what_they_say_and_store_nothing(
    kind, xrays, folder, scores, monkeypatch, tmp_path
):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "cache"))
    estimator = {
        "search": GridSearchCV(PneumoniaClassifier(**TINY), {"alpha": [0.05]}, cv=2, scoring="roc_auc"),
        "pipeline": make_pipeline(VGG19Features(**TINY), LogisticRegression(max_iter=10_000)),
        "views": PneumoniaClassifier(**TINY, n_views_predict=2),
    }[kind].fit(*xrays)
    joblib.dump(estimator, tmp_path / "model.joblib")
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "never"))
    score(monkeypatch, tmp_path / "model.joblib", folder, scores)
    assert not (tmp_path / "never").exists()
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "cache"))
    rows = [row for row in read(scores) if not row["error"]]
    expected = estimator.predict_proba([str(folder / row["file"]) for row in rows])
    said = [[float(row["probability_0"]), float(row["probability_1"])] for row in rows]
    np.testing.assert_allclose(said, expected, atol=1e-4)
