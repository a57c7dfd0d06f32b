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
    """Notes of what a pass tells its bar."""

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
    """What is decoded."""
    images, gray = [], decoding.Preprocessing.gray
    monkeypatch.setattr(
        decoding.Preprocessing, "gray", lambda square, data: (images.append(data), gray(square, data))[1]
    )
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


def test_maps_are_what_the_frozen_layers_give_in_float16(paths, store):
    rows = first_pass(maps_of(paths, store))
    expected = VGG19Features(**TINY | {"pool_grid": 16}, memory=None, device="cpu").fit_transform(paths)
    assert (rows.dtype, rows.shape) == (np.float16, (40, 64 * 16 * 16))
    np.testing.assert_array_equal(rows, expected.astype(np.float16))


def test_rows_of_every_batch_are_those_of_the_first_pass_in_the_order_asked_for(paths, store):
    maps = maps_of(paths[:6], store, n_views=3)
    rows = first_pass(maps)
    assert len(maps) == len(rows) == 18
    batches = [[17, 0, 3], [5], [2, 2, 11]]
    for epoch in (0, 5):
        for batch, some in zip(batches, read(maps, batches, epoch), strict=True):
            np.testing.assert_array_equal(some, rows[batch])
    assert [list(numbers) for numbers, _ in maps.batches(map(np.array, batches))] == batches


def test_each_file_is_decoded_once_whatever_the_number_of_views_and_epochs(paths, store, decoded):
    maps = maps_of(paths[:6], store, n_views=3)
    first_pass(maps)
    for epoch in range(3):
        read(maps, [range(18)], epoch)
    first_pass(maps_of(paths[:6], store, n_views=3))
    first_pass(maps_of(paths[:6], store, n_views=2))
    assert len(decoded) == 6


def test_the_first_pass_goes_in_parts_and_computes_no_more_than_is_asked_for(paths, store, decoded, monkeypatch):
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


def test_images_of_equal_content_share_their_rows(paths, store, decoded, tmp_path):
    copy = tmp_path / "copy.jpeg"
    copy.write_bytes(Path(paths[0]).read_bytes())
    maps = maps_of([paths[0], str(copy), paths[1], paths[0]], store, n_views=2)
    rows = first_pass(maps)
    assert len(decoded) == 2
    for other in (2, 6):
        np.testing.assert_array_equal(rows[other : other + 2], rows[:2])
    np.testing.assert_array_equal(read(maps, [[7, 1, 4, 3]])[0], rows[[1, 1, 4, 1]])


def test_rows_that_have_gone_from_the_store_are_computed_again(paths, tmp_path):
    maps = maps_of(paths[:5], FeatureStore(tmp_path, "maps"), n_views=3)
    rows = first_pass(maps)
    maps.store.file.unlink()
    chosen = [14, 3, 0, 7, 3]
    for some in read(maps, [chosen, chosen]):
        np.testing.assert_allclose(some.astype(float), rows[chosen].astype(float), rtol=2e-3, atol=2e-2)


def test_maps_do_not_lie_where_features_do(paths, store):
    first_pass(maps_of(paths[:2], store))
    assert store.file.name == "maps.sqlite"
    assert store.file != FeatureStore(store.folder).file


# Without frozen layers


def test_without_frozen_layers_rows_are_the_squares_and_nothing_is_stored(paths, store, decoded):
    maps = maps_of(paths[:4], store, n_frozen=0, weights="no such file.npz")
    rows = first_pass(maps)
    assert (rows.dtype, rows.shape) == (np.uint8, (4, 32 * 32))
    square = decoding.Preprocessing(32)
    for path, row in zip(paths, rows, strict=False):
        np.testing.assert_array_equal(row, square.decode(Path(path).read_bytes()).ravel())
    assert not store.folder.exists()
    before = len(decoded)
    read(maps, [range(4)])
    assert len(decoded) == before + 4


def test_a_new_epoch_draws_new_views_and_keeps_the_plain_image(paths):
    maps = maps_of(paths[:3], None, n_views=3, n_frozen=0)
    rows = first_pass(maps)
    epochs = [read(maps, [range(9)], epoch)[0] for epoch in range(3)]
    np.testing.assert_array_equal(epochs[0], rows)
    for epoch in epochs[1:]:
        np.testing.assert_array_equal(epoch[::3], rows[::3])
    others = [row.tobytes() for epoch in epochs for row in epoch[[1, 2, 4, 5, 7, 8]]]
    assert len(set(others)) == 18
    np.testing.assert_array_equal(read(maps, [[4, 0, 8]], 2)[0], epochs[2][[4, 0, 8]])


def test_views_of_later_epochs_are_those_that_more_views_would_have(paths):
    maps = maps_of(paths[:1], None, n_views=3, n_frozen=0)
    first_pass(maps)
    more = first_pass(maps_of(paths[:1], None, n_views=7, n_frozen=0))
    np.testing.assert_array_equal(np.concatenate([read(maps, [[1, 2]], epoch)[0] for epoch in range(3)]), more[1:])


# Errors


def broken(paths, tmp_path):
    """Every tenth of 40 films cannot be decoded, and one is missing."""
    films = list(paths)
    for i in range(5, 40, 10):
        film = tmp_path / f"cut{i}.jpeg"
        film.write_bytes(Path(paths[i]).read_bytes()[:-300])
        films[i] = str(film)
    films[38] = str(tmp_path / "none.jpeg")
    return films


@pytest.mark.parametrize("n_frozen", [0, 2])
@pytest.mark.parametrize("n_views", [1, 3])
def test_unreadable_images_of_all_parts_are_named_once_in_one_error(
    paths, store, tmp_path, monkeypatch, n_views, n_frozen
):
    films = broken(paths, tmp_path)
    monkeypatch.setattr(feature_maps, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 8)
    maps = maps_of(films, store, n_views=n_views, n_frozen=n_frozen)
    with pytest.raises(ImageReadError) as caught:
        first_pass(maps)
    assert [(position, path) for position, path, _ in caught.value.failures] == [
        (i, films[i]) for i in (5, 15, 25, 35, 38)
    ]


def test_after_an_unreadable_image_the_other_parts_pass_no_network(paths, store, tmp_path, monkeypatch):
    from skpneumo._vgg19.backbone import Backbone

    passed, forward = [], Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self: lambda batch: (passed.append(self.n_layers), forward(self)(batch))[1]
    )
    monkeypatch.setattr(feature_maps, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 8)
    with pytest.raises(ImageReadError):
        first_pass(maps_of(broken(paths, tmp_path), store))
    assert passed.count(2) <= 1


# Room


def test_without_a_store_maps_lie_in_a_temporary_folder_that_goes(paths):
    with maps_store(None) as room:
        maps = maps_of(paths[:3], room)
        rows = first_pass(maps)
        assert room.file.is_file()
        np.testing.assert_array_equal(read(maps, [[2]])[0], rows[2:])
    assert not Path(room.folder).exists()


def test_the_temporary_folder_goes_after_an_error_too():
    def fail():
        with maps_store(None) as room:
            room.put([(b"key", np.zeros(3))])
            folders.append(Path(room.folder))
            raise LookupError

    folders = []
    with pytest.raises(LookupError):
        fail()
    assert not folders[0].exists()


def test_a_store_that_is_there_is_lent_and_stays(store):
    with maps_store(store) as room:
        assert room is store


def test_names_of_rows_tell_content_and_view(paths, store):
    maps = maps_of(paths[:1], store, n_views=2)
    first_pass(maps)
    content = hashlib.blake2b(Path(paths[0]).read_bytes(), digest_size=20).digest()
    assert maps.items == [content, XRAY.item(content, 1)]
