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
def films(random):
    """60 films of 25 patients of two classes."""
    patients = np.r_[np.arange(25), random.randint(0, 25, 35)]
    return examples(patients % 2, patients)


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides_and_no_film_is_lost(films, seed):
    kept, held = films.hold_out(0.2, np.random.RandomState(seed))
    assert not set(kept.groups) & set(held.groups)
    assert len(set(held.groups)) == 5
    assert sorted([*kept.X, *held.X]) == list(range(60))
    for side in (kept, held):
        rows = side.X.astype(int)
        np.testing.assert_array_equal(side.codes, films.codes[rows])
        np.testing.assert_array_equal(side.groups, films.groups[rows])
        assert set(side.codes) == {0, 1}


def test_what_is_held_out_is_drawn_from_the_random_state(films):
    held = [list(films.hold_out(0.2, np.random.RandomState(seed))[1].X) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_weights_go_with_their_rows(films):
    weight = np.linspace(1, 2, 60)
    kept, held = replace(films, sample_weight=weight, loss_weight=weight * 3).hold_out(0.2, np.random.RandomState(0))
    for side in (kept, held):
        np.testing.assert_array_equal(side.sample_weight, weight[side.X.astype(int)])
        np.testing.assert_array_equal(side.loss_weight, weight[side.X.astype(int)] * 3)


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
def test_too_few_patients_are_one_clear_error(codes, groups):
    with pytest.raises(ValueError, match=r"early_stopping=True .*validation_fraction=0.1"):
        examples(codes, groups).hold_out(0.1, np.random.RandomState(0))


def test_a_class_that_is_missing_on_one_side_is_named():
    """Patients are stratified by their most frequent label: a rarer one may end on one side only."""
    codes = [0, 0, 2] + [0, 1] * 20
    groups = [0, 0, 0, *range(1, 41)]
    with pytest.raises(ValueError, match=r"without the classes \['virus'\]"):
        examples(codes, groups, classes=["bacteria", "normal", "virus"]).hold_out(0.2, np.random.RandomState(0))


def test_a_side_that_weighs_nothing_is_an_error(films):
    _, held = films.hold_out(0.2, np.random.RandomState(0))
    weight = np.ones(60)
    weight[held.X.astype(int)] = 0
    with pytest.raises(ValueError, match="one side without images that weigh anything: choose"):
        replace(films, loss_weight=weight).hold_out(0.2, np.random.RandomState(0))


def test_views_of_an_image_share_its_weight():
    views = examples([0, 1, 1], weight=[1, 2, 4]).repeat(4)
    assert len(views) == 12
    np.testing.assert_array_equal(views.codes, [0] * 4 + [1] * 8)
    shares = np.array([3, 1, 1, 1]) / 6  # half is the plain view's
    np.testing.assert_allclose(views.sample_weight, [*shares, *(2 * shares), *(4 * shares)])
    np.testing.assert_array_equal(views.loss_weight, 2 * views.sample_weight)


def test_the_score_is_minus_the_weighted_log_loss(random):
    for n_classes in (2, 3):
        codes, weight = np.arange(30) % n_classes, random.rand(30)
        logits = random.randn(30, 1 if n_classes == 2 else n_classes)
        scores = np.hstack([np.zeros_like(logits), logits]) if n_classes == 2 else logits
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        expected = -log_loss(codes, probabilities, sample_weight=weight)
        assert examples(codes, weight=weight).score(logits) == pytest.approx(expected, rel=1e-6)


def test_the_score_of_a_confident_mistake_is_finite():
    assert examples([0, 1]).score(np.array([[1e4], [-1e4]])) == pytest.approx(-1e4)


def test_patients_who_share_an_image_are_held_out_together(tmp_path):
    paths = [tmp_path / f"{name}{copy}.png" for name in "abcdefghijkl" for copy in (1, 2)]
    for path in paths:
        path.write_bytes(path.name[0].encode())
    films = replace(examples([0, 0, 1, 1] * 6), X=as_images(paths), is_images=True)
    contents = {i: path.read_bytes() for i, path in enumerate(paths)}
    for seed in range(5):
        kept, held = films.hold_out(0.25, np.random.RandomState(seed), contents=contents)
        assert not {path[-6] for path in kept.X} & {path[-6] for path in held.X}
        assert len(held) == 6


def test_patients_who_were_held_out_are_so_again_and_new_ones_are_not(films):
    _, held = films.hold_out(0.2, np.random.RandomState(0))
    more = replace(films.take(np.r_[np.arange(60), np.arange(60)]), groups=np.r_[films.groups, films.groups + 100])
    _, again = more.hold_out(0.2, np.random.RandomState(1), held.groups)
    assert set(again.groups) == set(held.groups)


def test_where_none_of_those_held_out_is_there_others_are(films):
    _, held = films.hold_out(0.2, np.random.RandomState(0), np.array([1000]))
    assert len(set(held.groups)) == 5


def test_the_accuracy_of_held_out_images_counts_all_that_weigh_anything_alike():
    weights = np.array([1.0, 3.0, 0.0, 1.0])
    unused = {"X": np.zeros(4), "is_images": False, "groups": np.arange(4)}
    held = Examples(
        classes=np.arange(3), codes=np.array([0, 1, 2, 2]), sample_weight=weights, loss_weight=weights, **unused
    )
    assert held.accuracy(np.array([[2, 1, 0], [2, 1, 0], [0, 0, 1], [0, 1, 2]])) == pytest.approx(2 / 3)
