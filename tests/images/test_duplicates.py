import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from skpneumo._images import duplicates
from skpneumo._images.decoding import whole
from skpneumo._images.duplicates import exact_pairs, fingerprint, near_pairs
from skpneumo.datasets import make_chest_xrays


@pytest.fixture(scope="module")
def grays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    drawn = make_chest_xrays(24, folder, images_per_patient=1, image_size=160, random_state=0)
    return [whole(Path(path).read_bytes())[1] for path in drawn.data.ravel()]


def saved(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def fingerprint_of(data):
    return fingerprint(data, whole(data)[1])


def scaled(image, factor):
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def cropped(image, left, top, right, bottom):
    width, height = image.size
    return image.crop((left * width, top * height, (1 - right) * width, (1 - bottom) * height))


COPIES = {
    "JPEG of quality 30": lambda image: saved(image, "JPEG", quality=30),
    "half the size": lambda image: saved(scaled(image, 0.5)),
    "twice the size": lambda image: saved(scaled(image, 2)),
    "brighter": lambda image: saved(image.point(lambda value: min(255, int(value * 1.1 + 8)))),
    "more contrast": lambda image: saved(ImageEnhance.Contrast(image).enhance(1.3)),
    "cropped on all sides": lambda image: saved(cropped(image, 0.03, 0.03, 0.03, 0.03)),
    "cropped on two sides": lambda image: saved(cropped(image, 0.03, 0, 0, 0.03)),
    "in a black frame": lambda image: saved(ImageOps.expand(image, round(0.03 * image.width), fill=0)),
    "in a white frame": lambda image: saved(ImageOps.expand(image, round(0.03 * image.width), fill=255)),
    "stretched to a square": lambda image: saved(image.resize((150, 150), Image.Resampling.BILINEAR)),
    "color": lambda image: saved(ImageOps.colorize(image, (0, 0, 20), (255, 250, 255)), "JPEG", quality=80),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_are_found_in_both_directions_and_no_others(grays, copy):
    originals = [fingerprint_of(saved(gray)) for gray in grays]
    copies = [fingerprint_of(copy(gray)) for gray in grays[:3]]
    assert [(i, j) for i, j, _ in near_pairs(originals, copies)] == [(0, 0), (1, 1), (2, 2)]
    assert [(i, j) for i, j, _ in near_pairs(copies, originals)] == [(0, 0), (1, 1), (2, 2)]


def test_images_of_different_patients_are_no_duplicates(grays):
    fingerprints = [fingerprint_of(saved(gray)) for gray in grays]
    assert near_pairs(fingerprints, fingerprints) == [(i, i, 1.0) for i in range(len(fingerprints))]


def test_equal_pixels_are_found_in_all_modes_and_formats(grays):
    gray = grays[0]
    sixteen_bit = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    files = [saved(gray), saved(gray, "BMP"), saved(gray.convert("RGB"), "TIFF"), saved(sixteen_bit)]
    fingerprints = [fingerprint_of(data) for data in files]
    assert exact_pairs(fingerprints[:1], [*fingerprints, fingerprint_of(saved(grays[1]))]) == [
        (0, 0, True), (0, 1, False), (0, 2, False), (0, 3, False)
    ]  # fmt: skip


def test_images_without_contrast_are_exact_but_no_near_duplicates():
    blank = [fingerprint_of(saved(Image.new("L", (64, 64), value))) for value in (0, 7, 7)]
    assert near_pairs(blank, blank) == []
    assert [(i, j) for i, j, _ in exact_pairs(blank[:2], blank)] == [(0, 0), (1, 1), (1, 2)]


def test_images_are_compared_across_blocks(grays, monkeypatch):
    monkeypatch.setattr("skpneumo._images.duplicates._BLOCK_SIZE", 2)
    fingerprints = [fingerprint_of(saved(gray)) for gray in grays[:5]]
    assert [(i, j) for i, j, _ in near_pairs(fingerprints, fingerprints[::-1])] == [(i, 4 - i) for i in range(5)]


def test_small_images_need_higher_similarity(grays):
    original, framed = fingerprint_of(saved(grays[0])), fingerprint_of(COPIES["in a white frame"](grays[0]))
    [(_, _, similarity)] = near_pairs([original], [framed])
    assert similarity < 0.9
    assert near_pairs([original], [framed._replace(short_side=48)]) == []
    assert near_pairs([original._replace(short_side=48)], [original]) == [(0, 0, 1.0)]


def test_pairs_within_one_list_are_found_once_for_all_block_sizes(grays, monkeypatch):
    fingerprints = [fingerprint_of(saved(gray)) for gray in grays[:5]] + [
        fingerprint_of(COPIES["brighter"](gray)) for gray in grays[3:7]
    ]
    expected = [(i, j, value) for i, j, value in near_pairs(fingerprints, fingerprints) if i < j]
    assert [(i, j) for i, j, _ in expected] == [(3, 5), (4, 6)]
    for block in (1, 2, 4, 100):
        monkeypatch.setattr(duplicates, "_BLOCK_SIZE", block)
        assert [(i, j) for i, j, _ in near_pairs(fingerprints)] == [(3, 5), (4, 6)]
