import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
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


def smooth_image(width, height, seed=0):
    """Return a smooth image, which changes little if it is resampled twice."""
    spots = np.random.RandomState(seed).randint(40, 216, (6, 6), np.uint8)
    return Image.fromarray(spots).resize((width, height), Image.Resampling.BICUBIC)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def preprocess(image, view, size=64, **settings):
    return Preprocessing(size, **settings).resize(image, view).astype(int)


def view_of(augmentation, number, content=CONTENT):
    return augmentation.view(augmentation.item(content, number), content)


# Drawing


def test_view_depends_on_content_number_and_strengths_only():
    assert view_of(XRAY, 3) == view_of(Augmentation(), 3)
    others = [view_of(XRAY, 2), view_of(XRAY, 3, CONTENT[::-1]), view_of(Augmentation(rotation=8), 3)]
    assert all(view_of(XRAY, 3) != other for other in others)


def test_view_0_is_the_plain_image_with_its_own_key():
    for augmentation in (XRAY, STRONG, NONE):
        assert augmentation.item(CONTENT, 0) == CONTENT
        assert augmentation.view(CONTENT, CONTENT) is None


def test_keys_of_views_depend_on_content_number_and_every_strength():
    strengths = [Augmentation(**{name: value + 0.125}) for name, value in vars(Augmentation()).items()]
    names = [each.item(content, n) for each in [XRAY, *strengths] for content in (CONTENT, b"x" * 20) for n in (1, 2)]
    assert len({*names}) == len(names) == 2 * 2 * 11
    assert len({len(name) for name in names}) == 1


def test_views_are_equal_on_every_machine():
    assert XRAY.item(CONTENT, 1).hex() == "000102030405060708090a0b0c0d0e0f101112135ea614e6e816704e00000001"
    view = view_of(STRONG, 1)
    drawn = [view.angle, view.area, view.ratio, *view.position, view.gamma, view.contrast, view.brightness]
    np.testing.assert_allclose([*drawn, view.blur, view.noise, view.seed], DRAWN, rtol=1e-9)


def test_views_cover_the_range_of_each_strength():
    augmentation = replace(STRONG, flip=0.25)
    views = [view_of(augmentation, number) for number in range(1, 2001)]
    ranges = {
        "angle": (-3, 3),
        "area": (0.45, 1.6),
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
    positions = np.array([view.position for view in views])
    assert np.abs(positions).max() <= 1
    assert abs(np.corrcoef(positions.T)[0, 1]) < 0.1
    for name in ("blur", "noise"):
        assert np.mean([getattr(view, name) > 0 for view in views]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([view.is_flipped for view in views]) == pytest.approx(0.25, abs=0.05)


# Applying


@pytest.mark.parametrize("contrast", [None, "equalize"])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("sides", [(300, 200), (90, 250), (64, 64), (40, 30)])
def test_view_without_strengths_is_nearly_the_plain_image(aspect, contrast, sides):
    image = smooth_image(*sides)
    settings = {"aspect": aspect, "contrast": contrast}
    plain = preprocess(image, None, **settings)
    view = preprocess(image, replace(view_of(NONE, 1), position=(0, 0)), **settings)  # "crop" moves along the long side
    assert view.shape == plain.shape == (64, 64)
    differences = np.abs(view - plain)
    assert np.median(differences) <= (6 if contrast else 2)
    assert differences.mean() < 8


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_views_differ_from_each_other_and_from_the_plain_image(aspect):
    for contrast in (None, "equalize"):
        images = [preprocess(smooth_image(120, 90), None, aspect=aspect, contrast=contrast)]
        images += [
            preprocess(smooth_image(120, 90), view_of(XRAY, number), aspect=aspect, contrast=contrast)
            for number in (1, 2, 3)
        ]
        for i, preprocessed in enumerate(images):
            assert preprocessed.shape == (64, 64)
            assert preprocessed.std() > 5
            assert all(np.abs(preprocessed - other).mean() > 2 for other in images[:i])


def test_flip_mirrors_the_image():
    image = smooth_image(64, 64)
    flipped = view_of(replace(NONE, flip=1), 1)
    assert flipped.is_flipped
    assert not view_of(NONE, 1).is_flipped
    np.testing.assert_array_equal(preprocess(image, flipped), preprocess(image, PLAIN)[:, ::-1])


def test_right_angle_rotates_the_image():
    image = smooth_image(64, 64)
    np.testing.assert_allclose(preprocess(image, replace(PLAIN, angle=90)), np.rot90(preprocess(image, PLAIN)), atol=1)


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_pixels_outside_the_image_are_black(aspect):
    preprocessed = preprocess(Image.new("L", (80, 80), 200), replace(PLAIN, area=4), aspect=aspect)
    np.testing.assert_array_equal(preprocessed[20:44, 20:44], 200)
    assert not preprocessed[:14].any()
    assert not preprocessed[:, -14:].any()


def test_small_area_shows_the_part_at_the_position():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    shown = {position: preprocess(ramp, replace(PLAIN, area=0.25, position=(position, 0))) for position in (-1, 0, 1)}
    for position, (low, high) in {-1: (0, 127), 0: (64, 191), 1: (128, 255)}.items():
        assert shown[position].min() == pytest.approx(low, abs=3)
        assert shown[position].max() == pytest.approx(high, abs=3)


def test_views_may_show_parts_outside_the_crop():
    image = Image.fromarray(np.repeat(np.array([[255, 100, 255]], np.uint8), 64, 1).repeat(64, 0))  # 192 x 64
    assert preprocess(image, None).max() == 100
    wide = preprocess(image, replace(PLAIN, ratio=4.0))
    assert wide[32, 0] == wide[32, -1] == 255
    assert wide[32, 32] == 100
    views = [preprocess(image, replace(PLAIN, position=(position, 0))) for position in (-1, 0, 1)]
    assert [(view.min(), view.max()) for view in views] == [(255, 255), (100, 100), (255, 255)]


def test_gray_values_change_by_gamma_contrast_and_brightness():
    image = Image.new("L", (64, 64), 51)
    image.paste(204, (0, 0, 64, 32))  # 0.2 and 0.8, with mean 0.5
    for changes, expected in [
        ({}, (204, 51)),
        ({"gamma": 2.0}, (163, 10)),
        ({"contrast": 0.5}, (166, 89)),
        ({"brightness": 0.1}, (230, 76)),
        ({"brightness": 0.5}, (255, 178)),
        ({"contrast": 4.0}, (255, 0)),
    ]:
        preprocessed = preprocess(image, replace(PLAIN, **changes))
        np.testing.assert_allclose((preprocessed[8, 8], preprocessed[-8, 8]), expected, atol=1)


def test_blur_reduces_and_noise_adds_variation():
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64), np.uint8))
    spread = [preprocess(image, replace(PLAIN, blur=blur)).std() for blur in (0, 3, 9)]
    assert spread == sorted(spread, reverse=True)
    assert spread[2] < spread[0] / 2
    gray = Image.new("L", (64, 64), 128)
    noisy = preprocess(gray, replace(PLAIN, noise=0.1, seed=5))
    assert (noisy - 128).std() == pytest.approx(25.5, rel=0.05)
    np.testing.assert_array_equal(noisy, preprocess(gray, replace(PLAIN, noise=0.1, seed=5)))
    assert not np.array_equal(noisy, preprocess(gray, replace(PLAIN, noise=0.1, seed=6)))


@pytest.mark.parametrize("sides", [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_views_of_images_with_extreme_shapes(sides, aspect):
    for contrast in (None, "equalize"):
        for number in range(1, 8):
            preprocessed = preprocess(
                Image.new("L", sides, 100), view_of(STRONG, number), aspect=aspect, contrast=contrast
            )
            assert preprocessed.shape == (64, 64)


def test_equalize_ignores_pixels_outside_the_image():
    """The darkest gray of the image becomes black, as in the plain image, whatever the size of the margin."""
    image = smooth_image(64, 64)
    inside = preprocess(image, PLAIN, contrast="equalize")
    framed = preprocess(image, replace(PLAIN, area=4), contrast="equalize")[18:46, 18:46]
    for level in (10, 50, 90):
        assert np.percentile(framed, level) == pytest.approx(np.percentile(inside, level), abs=20)


# FeatureSpec


@pytest.fixture
def spec():
    features = VGG19Features(**TINY)
    return features._encoder().spec(4)


def test_view_does_not_depend_on_other_views_and_their_order(spec):
    data = png(smooth_image(70, 50))
    content = hashlib.blake2b(data, digest_size=20).digest()
    items = spec.items(content)
    images = spec.preprocess(data, items)
    for order in ([3, 1], [2], [1, 0, 3, 2]):
        for number, preprocessed in zip(order, spec.preprocess(data, [items[i] for i in order]), strict=True):
            np.testing.assert_array_equal(preprocessed, images[number])
    np.testing.assert_array_equal(images[0], spec.preprocessing.decode(data))


def test_fingerprint_does_not_depend_on_views(spec):
    other = replace(spec, views=(0,), augmentation=STRONG)
    assert (other.fingerprint(), other.key()) == (spec.fingerprint(), spec.key())


# The parameter


def test_augmentation_parameter_is_name_or_mapping():
    assert Augmentation.of("xray") is XRAY
    assert Augmentation.of({}) == XRAY
    assert Augmentation.of({"rotation": np.float32(3), "flip": 1}) == Augmentation(rotation=3.0, flip=1.0)


def test_all_invalid_strengths_are_listed():
    invalid = {
        "rotate": 3,
        "area": 0,
        "flip": 1.5,
        "noise": float("nan"),
        "gamma": "much",
        "blur": -1,
        "margin": np.inf,
    }
    with pytest.raises(ValueError, match="augmentation has invalid strengths") as caught:
        Augmentation.of(invalid | {"contrast": 0.5})
    message = str(caught.value)
    assert "'rotate' is unknown" in message
    assert "The strengths are rotation, area" in message
    for name in ("area=0", "flip=1.5", "noise=nan", "gamma='much'", "blur=-1", "margin=inf"):
        assert name in message
    assert "contrast=" not in message


@pytest.mark.parametrize("value", ["Xray", None, 3, ["rotation"]])
def test_augmentation_of_other_type_raises(value):
    with pytest.raises(TypeError, match="augmentation must be 'xray' or a mapping of strengths"):
        Augmentation.of(value)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [({"augmentation": {"flip": 2}}, ValueError), ({"augmentation": None}, TypeError), ({"n_views": 0}, ValueError)],
)
def test_classifier_raises_on_invalid_views_before_reading_images(parameters, error):
    with pytest.raises(error, match=next(iter(parameters))):
        PneumoniaClassifier(**QUICK | parameters).fit(["none1.png", "none2.png"], [0, 1])


@pytest.mark.parametrize("name", ["rotation", "margin", "aspect", "gamma", "contrast", "brightness", "blur", "noise"])
def test_largest_valid_strength_gives_views(name):
    high = 1.0
    for value in (1e1, 1e2, 1e3, 1e6):
        try:
            augmentation = Augmentation.of({name: value})
        except ValueError:
            break
        high = value
        for number in range(1, 5):
            assert preprocess(smooth_image(50, 40), view_of(augmentation, number)).shape == (64, 64)
    assert high >= 1
