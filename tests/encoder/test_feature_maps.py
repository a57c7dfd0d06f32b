import hashlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from conftest import TINY
from skpneumo import VGG19Features
from skpneumo._encoder import feature_maps
from skpneumo._encoder.feature_maps import FeatureMaps, maps_store
from skpneumo._encoder.spec import FeatureSpec
from skpneumo._feature_store.store import FeatureStore
from skpneumo._images import decoding
from skpneumo._images.augmentation import XRAY
from skpneumo._images.inputs import as_images
from skpneumo.exceptions import ImageReadError


class Task:
    """Record the progress of a pass."""

    def __init__(self):
        self.calls, self.done = [], 0

    @contextmanager
    def __call__(self, *call):
        self.calls.append(call)
        yield self

    def update(self, n):
        self.done += n


@pytest.fixture
def decoded(monkeypatch):
    """Record the images that are decoded."""
    images, gray = [], decoding.Preprocessing.gray
    monkeypatch.setattr(decoding.Preprocessing, "gray", lambda self, data: (images.append(data), gray(self, data))[1])
    return images


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store", "maps")


def maps_of(paths, store, n_views=1, n_frozen=2, **changes):
    encoder = VGG19Features(**TINY | {"n_layers": 4} | changes)._encoder()
    spec = FeatureSpec(encoder.preprocessing, encoder._backbone(n_frozen, None), tuple(range(n_views)))
    return FeatureMaps(as_images(paths), spec, store, device="cpu", n_jobs=None)


def first_pass(maps):
    return np.concatenate(list(maps.first_pass(Task())))


def read(maps, batches, epoch=0):
    return [rows for _, rows in maps.batches([np.array(batch) for batch in batches], epoch)]


def test_maps_are_the_float16_output_of_the_frozen_layers(paths, store):
    rows = first_pass(maps_of(paths, store))
    expected = VGG19Features(**TINY | {"pool_grid": 16, "norm": None}, memory=None, device="cpu").fit_transform(paths)
    assert (rows.dtype, rows.shape) == (np.float16, (40, 64 * 16 * 16))
    np.testing.assert_array_equal(rows, expected.astype(np.float16))


def test_batches_return_rows_of_the_first_pass_in_the_requested_order(paths, store):
    maps = maps_of(paths[:6], store, n_views=3)
    rows = first_pass(maps)
    assert len(maps) == len(rows) == 18
    batches = [[17, 0, 3], [5], [2, 2, 11]]
    for epoch in (0, 5):
        for batch, some in zip(batches, read(maps, batches, epoch), strict=True):
            np.testing.assert_array_equal(some, rows[batch])
    assert [list(numbers) for numbers, _ in maps.batches(map(np.array, batches))] == batches


def test_each_file_is_decoded_once_for_any_number_of_views_and_epochs(paths, store, decoded):
    maps = maps_of(paths[:6], store, n_views=3)
    first_pass(maps)
    for epoch in range(3):
        read(maps, [range(18)], epoch)
    first_pass(maps_of(paths[:6], store, n_views=3))
    first_pass(maps_of(paths[:6], store, n_views=2))
    assert len(decoded) == 6


def test_first_pass_yields_blocks_lazily(paths, store, decoded, monkeypatch):
    expected = first_pass(maps_of(paths, None))
    decoded.clear()
    monkeypatch.setattr(feature_maps, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 4)
    task = Task()
    maps = maps_of(paths, store)
    parts = maps.first_pass(task)
    np.testing.assert_array_equal(next(parts), expected[:4])
    assert len(decoded) <= 4
    np.testing.assert_allclose(np.concatenate(list(parts)), expected[4:], rtol=2e-3)
    assert task.calls == [(40, "maps", "image")]
    assert task.done == 40
    np.testing.assert_array_equal(np.concatenate(read(maps, [range(40)]))[:4], expected[:4])


def test_images_with_equal_bytes_share_rows(paths, store, decoded, tmp_path):
    copy = tmp_path / "copy.jpeg"
    copy.write_bytes(Path(paths[0]).read_bytes())
    maps = maps_of([paths[0], str(copy), paths[1], paths[0]], store, n_views=2)
    rows = first_pass(maps)
    assert len(decoded) == 2
    for other in (2, 6):
        np.testing.assert_array_equal(rows[other : other + 2], rows[:2])
    np.testing.assert_array_equal(read(maps, [[7, 1, 4, 3]])[0], rows[[1, 1, 4, 1]])


def test_rows_missing_from_the_store_are_computed_again(paths, tmp_path):
    maps = maps_of(paths[:5], FeatureStore(tmp_path, "maps"), n_views=3)
    rows = first_pass(maps)
    maps.store.file.unlink()
    chosen = [14, 3, 0, 7, 3]
    for some in read(maps, [chosen, chosen]):
        np.testing.assert_allclose(some.astype(float), rows[chosen].astype(float), rtol=2e-3, atol=2e-2)


def test_maps_and_features_are_stored_in_different_files(paths, store):
    first_pass(maps_of(paths[:2], store))
    assert store.file.name == "maps.sqlite"
    assert store.file != FeatureStore(store.folder).file


# Without frozen layers


def test_without_frozen_layers_rows_are_preprocessed_images_and_nothing_is_stored(paths, store, decoded):
    maps = maps_of(paths[:4], store, n_frozen=0, weights="no such file.npz")
    rows = first_pass(maps)
    assert (rows.dtype, rows.shape) == (np.uint8, (4, 32 * 32))
    preprocessing = decoding.Preprocessing(32)
    for path, row in zip(paths, rows, strict=False):
        np.testing.assert_array_equal(row, preprocessing.decode(Path(path).read_bytes()).ravel())
    assert not store.folder.exists()
    before = len(decoded)
    read(maps, [range(4)])
    assert len(decoded) == before + 4


def test_each_epoch_has_new_views_and_the_same_plain_image(paths):
    maps = maps_of(paths[:3], None, n_views=3, n_frozen=0)
    rows = first_pass(maps)
    epochs = [read(maps, [range(9)], epoch)[0] for epoch in range(3)]
    np.testing.assert_array_equal(epochs[0], rows)
    for epoch in epochs[1:]:
        np.testing.assert_array_equal(epoch[::3], rows[::3])
    others = [row.tobytes() for epoch in epochs for row in epoch[[1, 2, 4, 5, 7, 8]]]
    assert len(set(others)) == 18
    np.testing.assert_array_equal(read(maps, [[4, 0, 8]], 2)[0], epochs[2][[4, 0, 8]])


def test_views_of_later_epochs_equal_those_of_a_larger_n_views(paths):
    maps = maps_of(paths[:1], None, n_views=3, n_frozen=0)
    first_pass(maps)
    more = first_pass(maps_of(paths[:1], None, n_views=7, n_frozen=0))
    np.testing.assert_array_equal(np.concatenate([read(maps, [[1, 2]], epoch)[0] for epoch in range(3)]), more[1:])


# Errors


def broken(paths, tmp_path):
    """Return 40 paths, of which every tenth is truncated and one is missing."""
    images = list(paths)
    for i in range(5, 40, 10):
        image = tmp_path / f"truncated{i}.jpeg"
        image.write_bytes(Path(paths[i]).read_bytes()[:-300])
        images[i] = str(image)
    images[38] = str(tmp_path / "none.jpeg")
    return images


@pytest.mark.parametrize("n_frozen", [0, 2])
@pytest.mark.parametrize("n_views", [1, 3])
def test_one_error_lists_the_unreadable_images_of_all_blocks_once(
    paths, store, tmp_path, monkeypatch, n_views, n_frozen
):
    images = broken(paths, tmp_path)
    monkeypatch.setattr(feature_maps, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 8)
    maps = maps_of(images, store, n_views=n_views, n_frozen=n_frozen)
    with pytest.raises(ImageReadError) as caught:
        first_pass(maps)
    assert [(position, path) for position, path, _ in caught.value.failures] == [
        (i, images[i]) for i in (5, 15, 25, 35, 38)
    ]


def test_blocks_after_an_unreadable_image_do_not_pass_the_network(paths, store, tmp_path, monkeypatch):
    from skpneumo._vgg19.backbone import Backbone

    n_layers_passed, forward = [], Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self: lambda batch: (n_layers_passed.append(self.n_layers), forward(self)(batch))[1]
    )
    monkeypatch.setattr(feature_maps, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 8)
    with pytest.raises(ImageReadError):
        first_pass(maps_of(broken(paths, tmp_path), store))
    assert n_layers_passed.count(2) <= 1


# Temporary store


def test_without_a_store_maps_are_in_a_temporary_folder_that_is_removed(paths):
    with maps_store(None) as temporary:
        maps = maps_of(paths[:3], temporary)
        rows = first_pass(maps)
        assert temporary.file.is_file()
        np.testing.assert_array_equal(read(maps, [[2]])[0], rows[2:])
    assert not Path(temporary.folder).exists()


def test_temporary_folder_is_removed_after_an_error():
    def fail():
        with maps_store(None) as temporary:
            temporary.put([(b"key", np.zeros(3))])
            folders.append(Path(temporary.folder))
            raise LookupError

    folders = []
    with pytest.raises(LookupError):
        fail()
    assert not folders[0].exists()


def test_writable_store_is_used_as_it_is(store):
    with maps_store(store) as temporary:
        assert temporary is store


def test_items_contain_image_digest_and_view(paths, store):
    maps = maps_of(paths[:1], store, n_views=2)
    first_pass(maps)
    content = hashlib.blake2b(Path(paths[0]).read_bytes(), digest_size=20).digest()
    assert maps.items == [content, XRAY.item(content, 1)]
