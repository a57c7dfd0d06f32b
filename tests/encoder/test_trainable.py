from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY
from skpneumo import VGG19Features
from skpneumo._encoder.trainable import TRAINABLE, TrainableSpec
from skpneumo._heads.head import Head
from skpneumo._vgg19.weights import load_layers

SHAPE = TrainableSpec(n_frozen=2, n_layers=4, image_size=32, grid=2, norm="l2", device="cpu", precision="float32")


def features_of(paths, **changes):
    return VGG19Features(**TINY | {"precision": "float32", "device": "cpu"} | changes, memory=None).fit_transform(paths)


@pytest.fixture(scope="module")
def maps(xrays):
    return features_of(xrays.data.ravel()[:12], pool_grid=16).astype(np.float16)


@pytest.fixture
def head(random):
    layers = {name: array for name, array in load_layers(None, 4).items() if name.startswith("block2")}
    coef = random.randn(512, 1).astype(np.float32) / 100
    return Head(np.zeros(512), np.ones(512), [coef], [np.zeros(1)], layers=layers)


def step(trainable, maps, rate=1e-3):
    from skpneumo import _keras

    codes, weights = np.arange(len(maps), dtype=np.int32) % 2, np.ones(len(maps), np.float32)
    with _keras.place("cpu"):
        return trainable.step(maps, codes, weights, 0.01, learning_rate=rate)


def test_frozen_and_trainable_layers_give_the_features_of_the_whole_network(maps, paths):
    with TRAINABLE.borrow(SHAPE) as trainable:
        trainable.load(load_layers(None, 4))
        features = trainable.features(maps)
    expected = features_of(paths[:12], n_layers=4)
    assert (features.dtype, features.shape) == (np.float32, (12, 512))
    np.testing.assert_allclose(features, expected, rtol=5e-3, atol=1e-3 * expected.max())


def test_features_do_not_depend_on_other_rows_or_on_the_batch_size(maps, monkeypatch):
    with TRAINABLE.borrow(SHAPE) as trainable:
        trainable.load(load_layers(None, 4))
        together = trainable.features(maps)
        np.testing.assert_allclose(trainable.features(maps[5:6])[0], together[5], rtol=1e-5, atol=1e-4)
        monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 5)
        np.testing.assert_allclose(trainable.features(maps), together, rtol=1e-5, atol=1e-4)


def test_input_rows_are_float16_maps_or_uint8_images():
    assert SHAPE.signature == ((None, 16 * 16 * 64), "float16")
    assert replace(SHAPE, n_frozen=0).signature == ((None, 32 * 32), "uint8")
    assert replace(SHAPE, n_frozen=3).signature == ((None, 16 * 16 * 128), "float16")


def test_step_updates_all_layers_and_the_head_and_returns_the_previous_loss(maps, head):
    with TRAINABLE.borrow(replace(SHAPE, sizes=(512, 1))) as trainable:
        trainable.start(head, np.random.RandomState(0))
        logits = head.logits(trainable.features(maps))[:, 0]
        loss, accuracy = step(trainable, maps)
        codes = np.arange(12) % 2
        expected = np.logaddexp(0, np.where(codes == 1, -logits, logits)).mean()
        expected += 0.01 / 2 * 512 * (head.coefs[0] ** 2).sum()
        assert loss == pytest.approx(expected, rel=1e-4)
        assert accuracy == pytest.approx(np.mean((logits > 0) == codes))
        for name, array in trainable.arrays().items():
            assert not np.array_equal(array, head.layers[name]), name
        coefs, intercepts = trainable.head.weights()
        assert not np.array_equal(coefs[0], head.coefs[0])
        assert intercepts[0] != 0


def test_start_resets_all_state(maps, head):
    results = []
    with TRAINABLE.borrow(replace(SHAPE, sizes=(512, 1))) as trainable:
        for _ in range(2):
            trainable.start(head, np.random.RandomState(0))
            figures = [step(trainable, maps) for _ in range(3)]
            results.append(
                [*trainable.arrays().values(), *trainable.head.weights()[0], *trainable.step.state(), *figures]
            )
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_resumed_from_saved_state_equals_uninterrupted_training(maps, head):
    with TRAINABLE.borrow(replace(SHAPE, sizes=(512, 1))) as trainable:
        trainable.start(head, np.random.RandomState(0))
        step(trainable, maps)
        coefs, intercepts = trainable.head.weights()
        between, state = (
            replace(head, layers=trainable.arrays(), coefs=coefs, intercepts=intercepts),
            trainable.step.state(),
        )
        step(trainable, maps)
        expected = trainable.arrays()
        trainable.start(between, np.random.RandomState(0), state)
        step(trainable, maps)
        for name, array in trainable.arrays().items():
            np.testing.assert_array_equal(array, expected[name])
