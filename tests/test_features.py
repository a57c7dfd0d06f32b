import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from conftest import TINY
from skpneumo import VGG19Features, _keras
from skpneumo._encoder import extract
from skpneumo._feature_store import sqlite
from skpneumo._feature_store.store import FeatureStore
from skpneumo._images import sources
from skpneumo._utils import progress
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.weights import load_layers
from skpneumo.exceptions import FeatureStoreWarning, ImageReadError, WeightsError


def write(path, seed=0, side=40):
    Image.fromarray(np.random.RandomState(seed).randint(0, 256, (side, side), np.uint8)).save(path)
    return str(path)


def test_transform_returns_float32_of_the_expected_shape(paths):
    extractor = VGG19Features(weights=None, n_layers=3, image_size=40, pool_grid=3)
    features = extractor.fit_transform(paths)
    assert features.shape == (40, 128 * 3 * 3)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert len(extractor.get_feature_names_out()) == features.shape[1]


def test_feature_names_contain_row_column_and_channel(features, paths):
    names = features.fit(paths).get_feature_names_out()
    assert list(names[[0, 63, 64, -1]]) == ["vgg19_0_0_0", "vgg19_0_0_63", "vgg19_0_1_0", "vgg19_1_1_63"]


def test_set_output_returns_a_data_frame(features, paths):
    frame = features.set_output(transform="pandas").fit_transform(pd.DataFrame({"path": paths}, index=range(5, 45)))
    assert list(frame.columns) == list(features.get_feature_names_out())
    assert list(frame.index) == list(range(5, 45))


def test_grid_cells_are_ordered_row_by_row(tmp_path):
    image = np.zeros((64, 64), np.uint8)
    image[:32, 32:] = 255
    Image.fromarray(image).save(tmp_path / "corner.png")
    cells = VGG19Features(**TINY, memory=None).fit_transform([tmp_path / "corner.png"]).reshape(4, 64)
    distinct = np.abs(cells - cells[0]).max(axis=1)
    assert distinct.argmax() == 1


def test_cached_features_are_not_computed_again(features, paths, count, tmp_path):
    features.set_params(memory=tmp_path)
    first = features.fit_transform(paths)
    assert count == {"decoded": 40, "passed": 40, "networks": 1}
    again = features.fit_transform(paths)
    assert count == {"decoded": 40, "passed": 40, "networks": 1}
    np.testing.assert_array_equal(first, again)


def test_identical_images_are_computed_once(features, count, tmp_path):
    one = write(tmp_path / "one.png")
    shutil.copy(one, tmp_path / "two.png")
    other = write(tmp_path / "other.png", seed=1)
    rows = features.set_params(memory=None).fit_transform([one, other, str(tmp_path / "two.png"), one])
    assert count["passed"] == 2
    np.testing.assert_array_equal(rows[[0, 0]], rows[[2, 3]])
    assert not np.array_equal(rows[0], rows[1])


def test_changed_file_is_computed_again(features, tmp_path):
    path = write(tmp_path / "image.png", seed=0)
    before = features.set_params(memory=tmp_path).fit_transform([path])
    write(path, seed=1)
    assert not np.array_equal(features.transform([path]), before)


def test_nothing_is_written_if_memory_is_none(features, paths, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path))
    features.set_params(memory=None).fit_transform(paths[:2])
    assert list(tmp_path.iterdir()) == []


def test_transform_warns_if_the_store_cannot_be_written(features, paths, tmp_path):
    (tmp_path / "file").touch()
    features.set_params(memory=tmp_path / "file")
    with pytest.warns(FeatureStoreWarning, match="computed, but not stored"):
        rows = features.fit_transform(paths[:2])
    np.testing.assert_array_equal(rows, features.set_params(memory=None).transform(paths[:2]))


@pytest.mark.parametrize("fault", ["no folder", "directories", "locked"])
def test_transform_warns_once_if_the_store_fails(features, paths, matrix, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(_keras, "batch_size", lambda *_: 4)
    monkeypatch.setattr(sqlite, "_LOCK_TIMEOUT", 0.0)
    monkeypatch.setattr(sqlite, "_SHORT_TIMEOUT", 0.0)
    store = FeatureStore(tmp_path)
    with ExitStack() as stack:
        if fault == "no folder":
            store.folder.touch()
        for name in ("features", "digests", "leases", "running") if fault != "no folder" else ():
            file = store.folder / f"{name}.sqlite"
            (file if fault == "directories" else store.folder).mkdir(parents=True, exist_ok=True)
            if fault == "locked":
                db = stack.enter_context(closing(sqlite3.connect(file)))
                db.execute("CREATE TABLE other (a)")
                db.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.warns(FeatureStoreWarning) as warned:
                rows = features.set_params(memory=tmp_path).fit_transform(paths)
            assert len(warned) == 1
            np.testing.assert_array_equal(rows, matrix)


def test_truncated_image_is_not_cached_if_pillow_accepts_it(features, paths, tmp_path, monkeypatch):
    content = Path(paths[0]).read_bytes()
    (tmp_path / "cut.jpeg").write_bytes(content[: len(content) // 2])
    features.set_params(memory=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        features.fit_transform([tmp_path / "cut.jpeg"])
    with pytest.raises(ImageReadError, match="cannot be decoded"):
        features.transform([tmp_path / "cut.jpeg"])


def test_features_do_not_depend_on_other_images(features, paths):
    features.set_params(memory=None)
    rows = features.fit_transform(paths)
    order = np.random.RandomState(0).permutation(40)
    np.testing.assert_array_equal(features.transform(np.array(paths)[order]), rows[order])
    np.testing.assert_array_equal(features.transform(paths[7:8]), rows[7:8])


def test_features_do_not_depend_on_n_jobs(features, paths):
    features.set_params(memory=None)
    rows = features.fit_transform(paths)
    np.testing.assert_array_equal(features.set_params(n_jobs=4).transform(paths), rows)


# Unreadable images


def bad_files(folder, good):
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    whole = Path(good).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "folder.png").mkdir()
    return [str(folder / name) for name in ["empty.png", "text.png", "cut.png", "folder.png", "none.png"]]


def test_one_error_lists_all_unreadable_images_before_extraction(features, paths, count, tmp_path):
    bad = bad_files(tmp_path, write(tmp_path / "good.png"))
    with pytest.raises(ImageReadError) as caught:
        features.set_params(memory=tmp_path).fit_transform([*paths[:3], *bad, paths[4], bad[2]])
    assert [(position, path) for position, path, _ in caught.value.failures] == [
        *zip(range(3, 8), bad, strict=True),
        (9, bad[2]),
    ]
    reasons = ["an empty file", "not an image", "cannot be decoded", "a folder", "no such file", "cannot be decoded"]
    for (_, path, reason), expected in zip(caught.value.failures, reasons, strict=True):
        assert expected in reason
        assert path in str(caught.value)
    assert count["passed"] == 0


def test_features_of_readable_images_are_cached_if_decoding_fails(features, paths, count, tmp_path):
    cut = bad_files(tmp_path, write(tmp_path / "good.png"))[2]
    features.set_params(memory=tmp_path)
    with pytest.raises(ImageReadError, match=r"1 image cannot be read.*\n.*X\[1\].*cut"):
        features.fit_transform([paths[0], cut, *paths[1:]])
    assert count["passed"] == 40
    features.fit(paths).transform(paths)
    assert count["passed"] == 40


def test_cached_images_are_not_decoded_again_if_another_is_missing(features, paths, count, tmp_path):
    features.set_params(memory=tmp_path).fit(paths).transform(paths)
    with pytest.raises(ImageReadError, match="no such file"):
        features.transform([*paths, "none.png"])
    assert count["decoded"] == 40


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """Replace a file after its first read."""
    path, look = write(tmp_path / "image.png", seed=0), extract.look
    monkeypatch.setattr(extract, "look", lambda data: (look(data), write(path, seed=1)))
    return path


def test_features_belong_to_the_content_that_was_read(features, replaced, tmp_path):
    expected = features.set_params(memory=None).fit_transform([Path(replaced).read_bytes()])
    write(replaced, seed=0)
    np.testing.assert_array_equal(features.set_params(memory=tmp_path).fit_transform([replaced]), expected)


def test_transform_raises_if_a_file_changes_while_it_is_read(features, replaced, monkeypatch, tmp_path, count):
    path = replaced
    monkeypatch.setattr(sources.Reads, "keep", lambda *_: None)  # as if it did not fit in memory
    with pytest.raises(ImageReadError, match="changed while it was being read"):
        features.set_params(memory=tmp_path).fit_transform([path])
    assert count["passed"] == 0


# Interruption


def test_killed_extraction_loses_at_most_one_batch(tmp_path, paths, monkeypatch):
    code = f"""
    import sys
    from skpneumo import VGG19Features, _keras
    _keras.batch_size = lambda *_: 4
    VGG19Features(**{TINY!r} | dict(image_size=160), memory=sys.argv[1]).fit_transform(sys.argv[2:])
    """
    images = [write(tmp_path / f"{i}.png", seed=i) for i in range(400)]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path), *images])
    store = FeatureStore(tmp_path)
    deadline = time.monotonic() + 120
    while count_rows(store) < 12 and process.poll() is None and time.monotonic() < deadline:
        pass
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = count_rows(store)
    assert kept >= 12
    assert kept % 4 == 0

    passed = []
    forward = backbone.Backbone.forward
    monkeypatch.setattr(
        backbone.Backbone, "forward", lambda self: lambda batch: (passed.append(len(batch)), forward(self)(batch))[1]
    )
    rows = VGG19Features(**TINY | {"image_size": 160}, memory=tmp_path).fit_transform(images)
    assert sum(passed) == 400 - kept
    fresh = VGG19Features(**TINY | {"image_size": 160}, memory=None).fit_transform(images[:20])
    np.testing.assert_array_equal(rows[:20], fresh)


def count_rows(store):
    if not store.file.exists():
        return 0
    db = sqlite3.connect(store.file, timeout=60)
    try:
        return db.execute("SELECT count(*) FROM features").fetchone()[0]
    except sqlite3.OperationalError:  # the table does not exist yet
        return 0
    finally:
        db.close()


# Parameters


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_layers", 0, ValueError),
        ("n_layers", 17, ValueError),
        ("n_layers", 2.0, TypeError),
        ("image_size", 31, ValueError),
        ("pool_grid", 0, ValueError),
        ("aspect", "squash", ValueError),
        ("contrast", "clahe", ValueError),
        ("device", "tpu", ValueError),
        ("precision", "float64", ValueError),
        ("weights", 7, TypeError),
        ("weights", "", ValueError),
        ("memory", "", ValueError),
        ("memory", 5, TypeError),
        ("n_jobs", "2", TypeError),
        ("verbose", "yes", TypeError),
    ],
)
def test_fit_raises_on_invalid_parameter(features, paths, name, value, error):
    with pytest.raises(error, match=name):
        features.set_params(**{name: value}).fit(paths)


def test_transform_raises_on_missing_weights(features, paths):
    with pytest.raises(WeightsError, match=r"no such file.*weights=None"):
        features.set_params(weights="none.npz").fit_transform(paths)


def test_fit_raises_on_numbers(features):
    with pytest.raises(ValueError, match=r"expects images.*directly to the next step"):
        features.fit([[1.0, 2.0]])


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbose_shows_a_progress_bar(features, paths, verbose, capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    features.set_params(memory=None, verbose=verbose).fit_transform(paths)
    out, err = capsys.readouterr()
    assert out == ""
    if verbose:
        assert re.search(r"features: +\d+%.*/40 \[.*<.*image/s", err)
    else:
        assert err == ""


def test_reused_workers_read_the_files_of_the_current_folder(tmp_path, monkeypatch):
    names, y = [f"{i}.png" for i in range(8)], [0, 1] * 4
    scores = []
    for seed, folder in enumerate([tmp_path / "one", tmp_path / "two"]):
        folder.mkdir()
        for i, name in enumerate(names):
            write(folder / name, seed=10 * seed + i)
        np.savez(folder / "weights.npz", **{name: array + seed for name, array in load_layers(None, 2).items()})
        monkeypatch.chdir(folder)
        features = VGG19Features(**TINY | {"weights": "weights.npz"}, memory="cache")
        matrix = features.fit_transform(names)
        pipeline = make_pipeline(features, LogisticRegression(C=1e6))
        scores.append(cross_val_predict(pipeline, names, y, cv=2, n_jobs=2, method="decision_function"))
        expected = cross_val_predict(pipeline[1], matrix, y, cv=2, method="decision_function")
        np.testing.assert_allclose(scores[-1], expected)
    assert np.abs(scores[0] - scores[1]).max() > 0.1
