import os

import numpy as np
import pytest

from conftest import write_keras_vgg19
from skpneumo._vgg19 import weights
from skpneumo._vgg19.weights import load_layers, source_of
from skpneumo._vgg19.weights_search import find_weights
from skpneumo.exceptions import WeightsError
from vgg19.conftest import digest, save_npz, save_other_npz

pytestmark = pytest.mark.usefixtures("isolated_weights")


@pytest.fixture
def keras_file(tmp_path):
    """Return the path to which Keras downloads its weights."""
    path = tmp_path / "keras" / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def failed_downloads(monkeypatch):
    """Let downloads by Keras fail, and record them."""
    attempts = []

    def download(verbose):
        attempts.append(verbose)
        raise OSError("no network")

    monkeypatch.setattr("skpneumo._vgg19.weights.download_vgg19", download)
    return attempts


def find(weights, n_layers=2):
    return find_weights(source_of(weights), digest(None, n_layers), n_layers)


def test_search_order_of_weights_file(tmp_path, keras_file, monkeypatch, failed_downloads):
    first, named = tmp_path / "w.npz", tmp_path / "named.npz"
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(named))
    for path in (first, named):
        save_npz(path, 2)
    write_keras_vgg19(keras_file)
    for place in (first, named, keras_file):
        assert find(first) == str(place)
        place.unlink()
    with pytest.raises(WeightsError):
        find(first)
    assert not failed_downloads


def test_search_order_of_imagenet_weights(tmp_path, keras_file, monkeypatch, failed_downloads):
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path / "named.npz"))
    save_npz(tmp_path / "named.npz", 2)
    write_keras_vgg19(keras_file)
    assert find("imagenet") == "imagenet"
    keras_file.unlink()
    assert find("imagenet") == str(tmp_path / "named.npz")
    (tmp_path / "named.npz").unlink()
    assert not failed_downloads
    with pytest.raises(WeightsError, match=r"download: .*no network"):
        find("imagenet")
    monkeypatch.setattr("skpneumo._vgg19.weights.download_vgg19", lambda verbose: load_layers(None, 16))
    assert find("imagenet") == "imagenet"


def test_folder_is_searched_for_file_with_digest(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a.h5").write_bytes(b"damaged")
    save_other_npz(folder / "b.npz")
    save_npz(folder / "c.npz", 1)
    save_npz(folder / "right.npz", 3)
    (folder / "readme.txt").touch()
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(folder))
    assert find("gone.npz") == str(folder / "right.npz")


def test_error_lists_all_locations_and_what_they_hold(tmp_path, keras_file, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a.h5").write_bytes(b"damaged")
    save_other_npz(folder / "b.npz")
    save_npz(folder / "c.npz", 1)
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(folder))
    with pytest.raises(WeightsError) as caught:
        find("gone.npz")
    needed, *searched, hint = str(caught.value).splitlines()
    assert "2 layers, block1_conv1 to block1_conv2" in needed
    assert digest(None).hex() in needed
    expected = [
        (os.path.abspath("gone.npz"), "no such file"),
        ("a.h5", "cannot be read"),
        ("b.npz", f"other weights, {digest(folder / 'b.npz').hex()}"),
        ("c.npz", "block1_conv2/kernel is missing; block1_conv2/bias is missing"),
        (str(keras_file), "no such file"),
    ]
    for line, parts in zip(searched, expected, strict=True):
        assert all(part in line for part in parts)
    for part in ("SKPNEUMO_WEIGHTS", "bundle_weights()", "n_layers"):
        assert part in hint


def test_error_shortens_long_list_of_files(tmp_path, keras_file, monkeypatch):
    for i in range(12):
        (tmp_path / f"{i:02}.npz").write_bytes(b"damaged")
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        find("gone.npz")
    _, *searched, _ = str(caught.value).splitlines()
    assert "07.npz" in searched[8]
    assert searched[9:] == ["  and 4 more", f"  Keras's cache, {str(keras_file)!r}: no such file"]


@pytest.mark.parametrize(("name", "message"), [(None, "not set"), ("", "no file in it ends in .npz, .h5, .keras")])
def test_environment_variable_without_weights_file_is_reported(name, message, tmp_path, monkeypatch, failed_downloads):
    if name is not None:
        monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path / name))
    with pytest.raises(WeightsError, match=f"SKPNEUMO_WEIGHTS.*: {message}(.*\n)+.*download: .*no network"):
        find("imagenet")


def test_files_are_read_once_and_missing_ones_are_searched_again(tmp_path, monkeypatch):
    read, paths = weights._read_file, []
    monkeypatch.setattr(weights, "_read_file", lambda path: (paths.append(path), read(path))[1])
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path))
    save_npz(tmp_path / "a.npz", 1)
    with pytest.raises(WeightsError):
        find(tmp_path / "w.npz")
    save_npz(tmp_path / "b.npz", 2)
    paths.clear()
    assert [find(tmp_path / "w.npz") for _ in range(3)] == [str(tmp_path / "b.npz")] * 3
    assert paths.count(str(tmp_path / "b.npz")) == 1
    assert str(tmp_path / "a.npz") not in paths


# Models whose weights file has moved


def move(model, folder):
    folder.mkdir()
    return model.weights.rename(folder / "moved.npz")


def test_model_finds_moved_and_renamed_weights(fitted, paths, tmp_path, monkeypatch):
    expected = fitted.predict_proba(paths)
    move(fitted, tmp_path / "folder")
    with pytest.raises(WeightsError, match="no such file"):
        fitted.predict(paths)
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path / "folder"))
    np.testing.assert_array_equal(fitted.predict_proba(paths), expected)


def test_other_weights_under_same_name_raise(fitted, paths, tmp_path, monkeypatch):
    expected = fitted.predict_proba(paths)
    moved = move(fitted, tmp_path / "folder")
    save_npz(fitted.weights, 2)
    with pytest.raises(WeightsError, match=r"w\.npz.*: other weights"):
        fitted.predict(paths)
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(moved))
    np.testing.assert_array_equal(fitted.predict_proba(paths), expected)
