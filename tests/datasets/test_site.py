import numpy as np
import pytest
from scipy.ndimage import laplace

from skpneumo.datasets._opacities import bounding_box, sample_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, sample_acquisition
from skpneumo.datasets._site import Site
from skpneumo.datasets._thorax import sample_thorax


def drawn(settings, dtype=np.uint8, kind="bacteria", size=96):
    """Draw images of five patients at a site; return their pixels, from 0 to 1, and masks."""
    images = []
    for seed in range(5):
        rng = np.random.RandomState(seed)
        thorax, acquisition = sample_thorax(rng), sample_acquisition(size, 0.5, rng)
        opacities = sample_opacities(kind, thorax, 0.5, rng)
        pixels, masks = draw_chest_xray(thorax, opacities, Site(**settings).apply(acquisition), rng, dtype)
        images.append((pixels / np.iinfo(dtype).max, masks))
    return images


def measured(settings, measure):
    return np.array([measure(pixels) for pixels, _ in drawn(settings)])


def test_defaults_change_nothing():
    rng = np.random.RandomState(0)
    acquisition = sample_acquisition(64, 0.5, rng)
    assert Site().apply(acquisition) == acquisition


@pytest.mark.parametrize("exposure", [-0.2, -0.1, 0.1, 0.2])
def test_exposure_is_added_to_the_mean(exposure):
    change = measured({"exposure": exposure}, np.mean) - measured({}, np.mean)
    assert change == pytest.approx(exposure, abs=0.01)


@pytest.mark.parametrize("haze", [0.3, 0.8])
def test_haze_is_the_proportion_of_contrast_lost(haze):
    site, unlettered = {"haze": haze, "letter": None}, {"letter": None}
    assert measured(site, np.std) / measured(unlettered, np.std) == pytest.approx(1 - haze, abs=0.02)
    assert measured(site, np.mean) == pytest.approx(measured(unlettered, np.mean), abs=0.01)


@pytest.mark.parametrize("zoom", [-0.3, 0.25])
def test_zoom_is_the_relative_change_of_lengths(zoom):
    boxes = [
        np.array([bounding_box(mask) for _, masks in drawn(settings) for mask in masks])
        for settings in ({}, {"zoom": zoom})
    ]
    heights, zoomed = (box[:, 3] - box[:, 1] for box in boxes)
    assert np.median(zoomed / heights) == pytest.approx(1 + zoom, abs=0.08)


@pytest.mark.parametrize("kind", ["bacteria", "virus", "lobar", "diffuse"])
def test_zoomed_images_contain_the_opacities(kind):
    for (_, masks), (_, zoomed) in zip(drawn({}, kind=kind), drawn({"zoom": 0.25}, kind=kind), strict=True):
        assert zoomed.sum() > 0.8 * masks.sum()


def test_blur_lowers_sharpness_and_scales_with_the_image():
    def sharpness(pixels):
        return laplace(pixels[:, : pixels.shape[1] // 2]).std()

    values = [measured({"blur": blur, "letter": None}, sharpness).mean() for blur in (0, 1, 3)]
    assert values[0] > 1.2 * values[1] > 1.2 * 1.5 * values[2]
    rng = np.random.RandomState(0)
    small, large = (Site(blur=8).apply(sample_acquisition(size, 0.5, rng)).blur for size in (64, 256))
    assert (small, large) == (pytest.approx(2, abs=0.1), pytest.approx(8, abs=0.1))


@pytest.mark.parametrize("letter", ["R", "L"])
def test_letter_is_on_its_side(letter):
    pairs = zip(drawn({"letter": letter}), drawn({"letter": None}), strict=True)
    changed = [pixels != plain for (pixels, _), (plain, _) in pairs]
    assert 3 <= sum(change.any() for change in changed) <= 5
    for change in changed:
        half = change.shape[1] // 2
        assert not (change[:, half:] if letter == "R" else change[:, :half]).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exposure": 0.3}, r"site\['exposure'\].* must be a float in the range \[-0.2, 0.2\]. Got 0.3"),
        ({"haze": float("nan")}, r"site\['haze'\]"),
        ({"zoom": "wide"}, r"site\['zoom'\]"),
        ({"blur": -1}, r"site\['blur'\]"),
        ({"letter": "X"}, r"site\['letter'\].* must be a str among"),
        ({"hazee": 1, 2: 0}, r"unknown keys \[2, 'hazee'\]; its keys are 'exposure', 'haze', 'zoom', 'blur', 'letter'"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        Site.from_dict(settings)
