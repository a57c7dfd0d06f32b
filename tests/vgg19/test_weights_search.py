import os

import numpy as np
import pytest

from conftest import write_keras_vgg19
from skpneumo._vgg19 import weights
from skpneumo._vgg19.weights import load_layers, source_of
from skpneumo._vgg19.weights_search import find_weights
from skpneumo.exceptions import WeightsError
from vgg19.conftest import digest, save_npz, save_other

pytestmark = pytest.mark.usefixtures("no_weights_of_this_machine")


@pytest.fixture
def keras_file(tmp_path):
    """Where Keras keeps its download."""
    path = tmp_path / "keras" / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def refused(monkeypatch):
    """Keras cannot download, and is asked this often."""
    calls = []

    def download(verbose):
        calls.append(verbose)
        raise OSError("no network")

    monkeypatch.setattr("skpneumo._vgg19.weights.download_vgg19", download)
    return calls


def find(weights, n_layers=2):
    return find_weights(source_of(weights), digest(None, n_layers), n_layers)


def test_weights_are_looked_for_in_their_place_then_by_the_environment_then_in_keras_cache(
    tmp_path, keras_file, monkeypatch, refused
):
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
    assert not refused


def test_imagenet_weights_are_looked_for_in_keras_cache_at_first_and_downloaded_at_last(
    tmp_path, keras_file, monkeypatch, refused
):
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path / "named.npz"))
    save_npz(tmp_path / "named.npz", 2)
    write_keras_vgg19(keras_file)
    assert find("imagenet") == "imagenet"
    keras_file.unlink()
    assert find("imagenet") == str(tmp_path / "named.npz")
    (tmp_path / "named.npz").unlink()
    assert not refused
    with pytest.raises(WeightsError, match=r"download: .*no network"):
        find("imagenet")
    monkeypatch.setattr("skpneumo._vgg19.weights.download_vgg19", lambda verbose: load_layers(None, 16))
    assert find("imagenet") == "imagenet"


def test_a_folder_is_searched_for_the_file_that_is_right(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a.h5").write_bytes(b"damaged")
    save_other(folder / "b.npz")
    save_npz(folder / "c.npz", 1)
    save_npz(folder / "right.npz", 3)
    (folder / "readme.txt").touch()
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(folder))
    assert find("gone.npz") == str(folder / "right.npz")


def test_weights_that_are_nowhere_are_said_with_all_that_was_found(tmp_path, keras_file, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "a.h5").write_bytes(b"damaged")
    save_other(folder / "b.npz")
    save_npz(folder / "c.npz", 1)
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(folder))
    with pytest.raises(WeightsError) as caught:
        find("gone.npz")
    needed, *looked, way_out = str(caught.value).splitlines()
    assert "2 of the layers, block1_conv1 to block1_conv2" in needed
    assert digest(None).hex() in needed
    expected = [
        (os.path.abspath("gone.npz"), "no such file"),
        ("a.h5", "cannot be read"),
        ("b.npz", f"other weights, {digest(folder / 'b.npz').hex()}"),
        ("c.npz", "block1_conv2/kernel is missing; block1_conv2/bias is missing"),
        (str(keras_file), "no such file"),
    ]
    for line, parts in zip(looked, expected, strict=True):
        assert all(part in line for part in parts)
    for part in ("SKPNEUMO_WEIGHTS", "bundle_weights()", "n_layers"):
        assert part in way_out


@pytest.mark.parametrize(("name", "said"), [(None, "not set"), ("", "no file in it ends in .npz, .h5, .keras")])
def test_an_environment_that_names_no_file_is_said(name, said, tmp_path, monkeypatch, refused):
    if name is not None:
        monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path / name))
    with pytest.raises(WeightsError, match=f"SKPNEUMO_WEIGHTS.*: {said}(.*\n)+.*download: .*no network"):
        find("imagenet")


def test_a_file_is_read_once_and_one_that_was_missing_is_looked_for_again(tmp_path, monkeypatch):
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


# Models that travel


def move(model, folder):
    folder.mkdir()
    return model.weights.rename(folder / "moved.npz")


def test_a_model_finds_weights_that_were_moved_and_renamed(on_file, paths, tmp_path, monkeypatch):
    expected = on_file.predict_proba(paths)
    move(on_file, tmp_path / "folder")
    with pytest.raises(WeightsError, match="no such file"):
        on_file.predict(paths)
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(tmp_path / "folder"))
    np.testing.assert_array_equal(on_file.predict_proba(paths), expected)


def test_other_weights_under_the_same_name_are_not_taken(on_file, paths, tmp_path, monkeypatch):
    expected = on_file.predict_proba(paths)
    moved = move(on_file, tmp_path / "folder")
    save_npz(on_file.weights, 2)
    with pytest.raises(WeightsError, match=r"w\.npz.*: other weights"):
        on_file.predict(paths)
    monkeypatch.setenv("SKPNEUMO_WEIGHTS", str(moved))
    np.testing.assert_array_equal(on_file.predict_proba(paths), expected)
