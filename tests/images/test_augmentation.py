import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._encoder.spec import FeatureSpec
from skpneumo._images.augmentation import XRAY, Augmentation, View
from skpneumo._images.decoding import Preprocessing

NONE = Augmentation(rotation=0, area=1, margin=0, aspect=0, gamma=0, contrast=0, brightness=0, blur=0, noise=0, flip=0)
PLAIN = View(0, 1, 1, (0, 0), 1, 1, 0, 0, 0, 0, False)
CONTENT = bytes(range(20))
STRONG = Augmentation(
    rotation=3, area=0.45, margin=0.6, aspect=0.4, gamma=1.0, contrast=0.8, brightness=0.25, blur=2.5, noise=0.1
)
DRAWN = [1.7462013540789485, 0.8420833908137866, 0.9301373307995264, -0.5585096636787057, -0.26377345621585846]
DRAWN += [1.6616604540283915, 0.4757059640471864, 0.12687380344141275, 1.347094556549564, 0.023713763523846867]
DRAWN += [1873160055]


def film(width, height, seed=0):
    """Smooth, so that resampling it twice changes little."""
    spots = np.random.RandomState(seed).randint(40, 216, (6, 6), np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def cut(image, view, size=64, **settings):
    return Preprocessing(size, **settings).resize(image, view).astype(int)


def view_of(augmentation, number, content=CONTENT):
    return augmentation.view(augmentation.item(content, number), content)


# Drawing


def test_a_view_is_drawn_from_content_number_and_strengths_alone():
    assert view_of(XRAY, 3) == view_of(Augmentation(), 3)
    others = [view_of(XRAY, 2), view_of(XRAY, 3, CONTENT[::-1]), view_of(Augmentation(rotation=8), 3)]
    assert all(view_of(XRAY, 3) != other for other in others)


def test_view_0_is_the_plain_image_under_its_own_name():
    for augmentation in (XRAY, STRONG, NONE):
        assert augmentation.item(CONTENT, 0) == CONTENT
        assert augmentation.view(CONTENT, CONTENT) is None


def test_names_of_views_differ_by_content_number_and_every_strength():
    strengths = [Augmentation(**{name: value + 0.125}) for name, value in vars(Augmentation()).items()]
    names = [each.item(content, n) for each in [XRAY, *strengths] for content in (CONTENT, b"x" * 20) for n in (1, 2)]
    assert len({*names}) == len(names) == 2 * 2 * 11
    assert len({len(name) for name in names}) == 1


def test_views_are_the_same_on_every_machine_as_stored_features_take_for_granted():
    assert XRAY.item(CONTENT, 1).hex() == "000102030405060708090a0b0c0d0e0f101112135ea614e6e816704e00000001"
    view = view_of(STRONG, 1)
    drawn = [view.angle, view.share, view.ratio, *view.place, view.gamma, view.contrast, view.brightness]
    np.testing.assert_allclose([*drawn, view.blur, view.noise, view.seed], DRAWN, rtol=1e-9)


def test_views_spread_over_the_whole_range_of_each_strength():
    augmentation = replace(STRONG, flip=0.25)
    views = [view_of(augmentation, number) for number in range(1, 2001)]
    ranges = {
        "angle": (-3, 3),
        "share": (0.45, 1.6),
        "ratio": (np.exp(-0.4), np.exp(0.4)),
        "gamma": (np.exp(-1), np.exp(1)),
        "contrast": (np.exp(-0.8), np.exp(0.8)),
        "brightness": (-0.25, 0.25),
        "blur": (0, 2.5),
        "noise": (0, 0.1),
        "seed": (0, 2**32),
    }
    for name, (low, high) in ranges.items():
        values = np.array([getattr(view, name) for view in views])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    places = np.array([view.place for view in views])
    assert np.abs(places).max() <= 1
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.1
    for name in ("blur", "noise"):
        assert np.mean([getattr(view, name) > 0 for view in views]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([view.is_flipped for view in views]) == pytest.approx(0.25, abs=0.05)


# Cutting


@pytest.mark.parametrize("contrast", [None, "equalize"])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("sides", [(300, 200), (90, 250), (64, 64), (40, 30)])
def test_without_strengths_a_view_is_nearly_the_plain_image(aspect, contrast, sides):
    image = film(*sides)
    settings = {"aspect": aspect, "contrast": contrast}
    plain = cut(image, None, **settings)
    view = cut(image, replace(view_of(NONE, 1), place=(0, 0)), **settings)  # "crop" slides along the longer side
    assert view.shape == plain.shape == (64, 64)
    differences = np.abs(view - plain)
    assert np.median(differences) <= (6 if contrast else 2)
    assert differences.mean() < 8


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_views_of_an_image_are_squares_that_differ_from_each_other_and_from_the_plain_one(aspect):
    for contrast in (None, "equalize"):
        squares = [cut(film(120, 90), None, aspect=aspect, contrast=contrast)]
        squares += [cut(film(120, 90), view_of(XRAY, number), aspect=aspect, contrast=contrast) for number in (1, 2, 3)]
        for i, square in enumerate(squares):
            assert square.shape == (64, 64)
            assert square.std() > 5
            assert all(np.abs(square - other).mean() > 2 for other in squares[:i])


def test_flip_mirrors():
    image = film(64, 64)
    flipped = view_of(replace(NONE, flip=1), 1)
    assert flipped.is_flipped
    assert not view_of(NONE, 1).is_flipped
    np.testing.assert_array_equal(cut(image, flipped), cut(image, PLAIN)[:, ::-1])


def test_a_right_angle_turns():
    image = film(64, 64)
    np.testing.assert_allclose(cut(image, replace(PLAIN, angle=90)), np.rot90(cut(image, PLAIN)), atol=1)


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_what_lies_around_the_image_is_black(aspect):
    square = cut(Image.new("L", (80, 80), 200), replace(PLAIN, share=4), aspect=aspect)
    np.testing.assert_array_equal(square[20:44, 20:44], 200)
    assert not square[:14].any()
    assert not square[:, -14:].any()


def test_a_small_share_shows_a_part_at_the_place_drawn():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    shown = {place: cut(ramp, replace(PLAIN, share=0.25, place=(place, 0))) for place in (-1, 0, 1)}
    for place, (low, high) in {-1: (0, 127), 0: (64, 191), 1: (128, 255)}.items():
        assert shown[place].min() == pytest.approx(low, abs=3)
        assert shown[place].max() == pytest.approx(high, abs=3)


def test_crop_may_show_what_the_plain_image_crops_away():
    image = Image.fromarray(np.repeat(np.array([[255, 100, 255]], np.uint8), 64, 1).repeat(64, 0))  # 192 x 64
    assert cut(image, None).max() == 100
    wide = cut(image, replace(PLAIN, ratio=4.0))
    assert wide[32, 0] == wide[32, -1] == 255
    assert wide[32, 32] == 100
    places = [cut(image, replace(PLAIN, place=(place, 0))) for place in (-1, 0, 1)]
    assert [(place.min(), place.max()) for place in places] == [(255, 255), (100, 100), (255, 255)]


def test_gray_values_are_exposed_as_drawn():
    image = Image.new("L", (64, 64), 51)
    image.paste(204, (0, 0, 64, 32))  # 0.2 and 0.8, of mean 0.5
    for changes, expected in [
        ({}, (204, 51)),
        ({"gamma": 2.0}, (163, 10)),
        ({"contrast": 0.5}, (166, 89)),
        ({"brightness": 0.1}, (230, 76)),
        ({"brightness": 0.5}, (255, 178)),
        ({"contrast": 4.0}, (255, 0)),
    ]:
        square = cut(image, replace(PLAIN, **changes))
        np.testing.assert_allclose((square[8, 8], square[-8, 8]), expected, atol=1)


def test_blur_takes_detail_away_in_proportion_to_the_side_and_noise_adds_some():
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64), np.uint8))
    spread = [cut(image, replace(PLAIN, blur=blur)).std() for blur in (0, 3, 9)]
    assert spread == sorted(spread, reverse=True)
    assert spread[2] < spread[0] / 2
    gray = Image.new("L", (64, 64), 128)
    noisy = cut(gray, replace(PLAIN, noise=0.1, seed=5))
    assert (noisy - 128).std() == pytest.approx(25.5, rel=0.05)
    np.testing.assert_array_equal(noisy, cut(gray, replace(PLAIN, noise=0.1, seed=5)))
    assert not np.array_equal(noisy, cut(gray, replace(PLAIN, noise=0.1, seed=6)))


@pytest.mark.parametrize("sides", [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_images_of_extreme_shapes_have_views(sides, aspect):
    for contrast in (None, "equalize"):
        for number in range(1, 8):
            square = cut(Image.new("L", sides, 100), view_of(STRONG, number), aspect=aspect, contrast=contrast)
            assert square.shape == (64, 64)


def test_equalising_leaves_the_black_around_the_image_out():
    """As for the plain image: its darkest gray becomes black, however much black lies around it."""
    image = film(64, 64)
    inside = cut(image, PLAIN, contrast="equalize")
    framed = cut(image, replace(PLAIN, share=4), contrast="equalize")[18:46, 18:46]
    for level in (10, 50, 90):
        assert np.percentile(framed, level) == pytest.approx(np.percentile(inside, level), abs=20)


# Ways


@pytest.fixture
def way():
    features = VGG19Features(**TINY)
    return features._encoder().spec(4)


def test_a_view_is_the_same_whatever_its_company_and_order(way):
    data = png(film(70, 50))
    content = hashlib.blake2b(data, digest_size=20).digest()
    items = way.items(content)
    squares = way.preprocess(data, items)
    for order in ([3, 1], [2], [1, 0, 3, 2]):
        for number, square in zip(order, way.preprocess(data, [items[i] for i in order]), strict=True):
            np.testing.assert_array_equal(square, squares[number])
    np.testing.assert_array_equal(squares[0], way.preprocessing.decode(data))


def test_views_have_one_fingerprint_whatever_their_number_and_strengths(way):
    other = FeatureSpec(way.preprocessing, way.backbone, (0,), STRONG)
    assert (other.fingerprint(), other.key()) == (way.fingerprint(), way.key())


# The parameter


def test_a_recipe_and_a_mapping_of_strengths_are_taken():
    assert Augmentation.of("xray") is XRAY
    assert Augmentation.of({}) == XRAY
    assert Augmentation.of({"rotation": np.float32(3), "flip": 1}) == Augmentation(rotation=3.0, flip=1.0)


def test_every_fault_of_the_strengths_is_named():
    faulty = {"rotate": 3, "area": 0, "flip": 1.5, "noise": float("nan"), "gamma": "much", "blur": -1, "margin": np.inf}
    with pytest.raises(ValueError, match="augmentation=") as caught:
        Augmentation.of(faulty | {"contrast": 0.5})
    message = str(caught.value).split("}: ")[1]
    assert "'rotate' is none of rotation, area" in message
    for name in ("area=0", "flip=1.5", "noise=nan", "gamma='much'", "blur=-1", "margin=inf"):
        assert name in message
    assert "contrast=" not in message


@pytest.mark.parametrize("value", ["Xray", None, 3, ["rotation"]])
def test_what_is_neither_recipe_nor_mapping_is_refused(value):
    with pytest.raises(TypeError, match="augmentation must be 'xray' or a mapping of strengths"):
        Augmentation.of(value)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [({"augmentation": {"flip": 2}}, ValueError), ({"augmentation": None}, TypeError), ({"n_views": 0}, ValueError)],
)
def test_a_classifier_refuses_them_before_any_image_is_read(parameters, error):
    with pytest.raises(error, match=next(iter(parameters))):
        PneumoniaClassifier(**TINY, **parameters).fit(["none1.png", "none2.png"], [0, 1])


@pytest.mark.parametrize("name", ["rotation", "margin", "aspect", "gamma", "contrast", "brightness", "blur", "noise"])
def test_the_largest_strength_that_is_taken_gives_views(name):
    high = 1.0
    for value in (1e1, 1e2, 1e3, 1e6):
        try:
            augmentation = Augmentation.of({name: value})
        except ValueError:
            break
        high = value
        for number in range(1, 5):
            assert cut(film(50, 40), view_of(augmentation, number)).shape == (64, 64)
    assert high >= 1
