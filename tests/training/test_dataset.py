from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from skpneumo._images.inputs import as_images
from skpneumo._training.dataset import Examples


def examples(codes, groups=None, weight=None, classes=None):
    codes = np.asarray(codes)
    weight = np.ones(len(codes)) if weight is None else np.asarray(weight, float)
    classes = np.arange(codes.max() + 1) if classes is None else np.asarray(classes)
    rows = np.arange(len(codes))
    groups = rows if groups is None else np.asarray(groups)
    return Examples(rows.astype(object), False, classes, codes, weight, 2 * weight, groups)


@pytest.fixture
def images(random):
    """60 images of 25 patients of two classes."""
    patients = np.r_[np.arange(25), random.randint(0, 25, 35)]
    return examples(patients % 2, patients)


@pytest.mark.parametrize("seed", range(5))
def test_hold_out_splits_all_images_by_patient(images, seed):
    train, validation = images.hold_out(0.2, np.random.RandomState(seed))
    assert not set(train.groups) & set(validation.groups)
    assert len(set(validation.groups)) == 5
    assert sorted([*train.X, *validation.X]) == list(range(60))
    for part in (train, validation):
        rows = part.X.astype(int)
        np.testing.assert_array_equal(part.codes, images.codes[rows])
        np.testing.assert_array_equal(part.groups, images.groups[rows])
        assert set(part.codes) == {0, 1}


def test_hold_out_depends_on_the_random_state(images):
    validation = [list(images.hold_out(0.2, np.random.RandomState(seed))[1].X) for seed in (0, 0, 1)]
    assert validation[0] == validation[1] != validation[2]


def test_hold_out_splits_the_weights_alike(images):
    weight = np.linspace(1, 2, 60)
    train, validation = replace(images, sample_weight=weight, loss_weight=weight * 3).hold_out(
        0.2, np.random.RandomState(0)
    )
    for part in (train, validation):
        np.testing.assert_array_equal(part.sample_weight, weight[part.X.astype(int)])
        np.testing.assert_array_equal(part.loss_weight, weight[part.X.astype(int)] * 3)


@pytest.mark.parametrize(
    ("codes", "groups"),
    [
        ([0, 1], None),
        ([0] * 20 + [1], None),
        ([0, 0, 1, 1], [1, 1, 2, 2]),
        ([0] * 20 + [1] * 10, [*range(20), *[99] * 10]),
        ([0, 1] * 20, [7] * 40),
    ],
)
def test_hold_out_raises_on_too_few_patients(codes, groups):
    with pytest.raises(ValueError, match=r"early_stopping=True .*validation_fraction=0.1"):
        examples(codes, groups).hold_out(0.1, np.random.RandomState(0))


def test_hold_out_names_a_class_missing_from_one_set():
    """Patients are stratified by their most frequent label, so a rarer label may be in one set only."""
    codes = [0, 0, 2] + [0, 1] * 20
    groups = [0, 0, 0, *range(1, 41)]
    with pytest.raises(ValueError, match="without one of the classes 'virus'"):
        examples(codes, groups, classes=["bacteria", "normal", "virus"]).hold_out(0.2, np.random.RandomState(0))


def test_hold_out_raises_on_a_set_of_weight_0(images):
    _, validation = images.hold_out(0.2, np.random.RandomState(0))
    weight = np.ones(60)
    weight[validation.X.astype(int)] = 0
    with pytest.raises(ValueError, match="validation set without any image of positive weight: choose"):
        replace(images, loss_weight=weight).hold_out(0.2, np.random.RandomState(0))


def test_repeat_distributes_the_weight_over_views():
    views = examples([0, 1, 1], weight=[1, 2, 4]).repeat(4, 0.5)
    assert len(views) == 12
    np.testing.assert_array_equal(views.codes, [0] * 4 + [1] * 8)
    fractions = np.array([3, 1, 1, 1]) / 6  # the plain view gets half
    np.testing.assert_allclose(views.sample_weight, [*fractions, *(2 * fractions), *(4 * fractions)])
    np.testing.assert_array_equal(views.loss_weight, 2 * views.sample_weight)


def test_score_is_the_negative_weighted_log_loss(random):
    for n_classes in (2, 3):
        codes, weight = np.arange(30) % n_classes, random.rand(30)
        logits = random.randn(30, 1 if n_classes == 2 else n_classes)
        scores = np.hstack([np.zeros_like(logits), logits]) if n_classes == 2 else logits
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        expected = -log_loss(codes, probabilities, sample_weight=weight)
        assert examples(codes, weight=weight).score(logits) == pytest.approx(expected, rel=1e-6)


def test_score_of_a_confident_error_is_finite():
    assert examples([0, 1]).score(np.array([[1e4], [-1e4]])) == pytest.approx(-1e4)


def test_patients_who_share_an_image_stay_in_the_same_set(tmp_path):
    paths = [tmp_path / f"{name}{copy}.png" for name in "abcdefghijkl" for copy in (1, 2)]
    for path in paths:
        path.write_bytes(path.name[0].encode())
    images = replace(examples([0, 0, 1, 1] * 6), X=as_images(paths), is_images=True)
    contents = {i: path.read_bytes() for i, path in enumerate(paths)}
    for seed in range(5):
        train, validation = images.hold_out(0.25, np.random.RandomState(seed), contents=contents)
        assert not {path[-6] for path in train.X} & {path[-6] for path in validation.X}
        assert len(validation) == 6


def test_only_previously_held_out_patients_are_held_out_again(images):
    _, validation = images.hold_out(0.2, np.random.RandomState(0))
    more = replace(images.take(np.r_[np.arange(60), np.arange(60)]), groups=np.r_[images.groups, images.groups + 100])
    _, again = more.hold_out(0.2, np.random.RandomState(1), validation.groups)
    assert set(again.groups) == set(validation.groups)


def test_new_patients_are_held_out_if_no_previous_one_is_present(images):
    _, validation = images.hold_out(0.2, np.random.RandomState(0), np.array([1000]))
    assert len(set(validation.groups)) == 5


def test_accuracy_counts_images_of_positive_weight_equally():
    weights = np.array([1.0, 3.0, 0.0, 1.0])
    unused = {"X": np.zeros(4), "is_images": False, "groups": np.arange(4)}
    validation = Examples(
        classes=np.arange(3), codes=np.array([0, 1, 2, 2]), sample_weight=weights, loss_weight=weights, **unused
    )
    assert validation.accuracy(np.array([[2, 1, 0], [2, 1, 0], [0, 0, 1], [0, 1, 2]])) == pytest.approx(2 / 3)
