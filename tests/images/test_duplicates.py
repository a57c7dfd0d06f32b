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
    folder = tmp_path_factory.mktemp("films")
    drawn = make_chest_xrays(24, folder, images_per_patient=1, image_size=160, random_state=0)
    return [whole(Path(path).read_bytes())[1] for path in drawn.data.ravel()]


def saved(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def film_of(data):
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
    "colour": lambda image: saved(ImageOps.colorize(image, (0, 0, 20), (255, 250, 255)), "JPEG", quality=80),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_film_saved_another_way_is_found_on_either_side_and_no_other_is(grays, copy):
    originals = [film_of(saved(gray)) for gray in grays]
    copies = [film_of(copy(gray)) for gray in grays[:3]]
    assert [(i, j) for i, j, _ in near_pairs(originals, copies)] == [(0, 0), (1, 1), (2, 2)]
    assert [(i, j) for i, j, _ in near_pairs(copies, originals)] == [(0, 0), (1, 1), (2, 2)]


def test_films_of_other_patients_are_no_duplicates(grays):
    films = [film_of(saved(gray)) for gray in grays]
    assert near_pairs(films, films) == [(i, i, 1.0) for i in range(len(films))]


def test_equal_pixels_are_found_in_any_mode_and_format(grays):
    gray = grays[0]
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    ways = [saved(gray), saved(gray, "BMP"), saved(gray.convert("RGB"), "TIFF"), saved(deep)]
    films = [film_of(data) for data in ways]
    assert exact_pairs(films[:1], [*films, film_of(saved(grays[1]))]) == [
        (0, 0, True), (0, 1, False), (0, 2, False), (0, 3, False)
    ]  # fmt: skip


def test_images_without_any_contrast_are_near_to_nothing_but_equal_ones():
    blank = [film_of(saved(Image.new("L", (64, 64), value))) for value in (0, 7, 7)]
    assert near_pairs(blank, blank) == []
    assert [(i, j) for i, j, _ in exact_pairs(blank[:2], blank)] == [(0, 0), (1, 1), (1, 2)]


def test_more_films_than_a_block_are_compared(grays, monkeypatch):
    monkeypatch.setattr("skpneumo._images.duplicates._BLOCK", 2)
    films = [film_of(saved(gray)) for gray in grays[:5]]
    assert [(i, j) for i, j, _ in near_pairs(films, films[::-1])] == [(i, 4 - i) for i in range(5)]


def test_small_images_have_to_agree_more(grays):
    original, framed = film_of(saved(grays[0])), film_of(COPIES["in a white frame"](grays[0]))
    [(_, _, agreement)] = near_pairs([original], [framed])
    assert agreement < 0.9
    assert near_pairs([original], [framed._replace(short_side=48)]) == []
    assert near_pairs([original._replace(short_side=48)], [original]) == [(0, 0, 1.0)]


def test_pairs_among_the_same_films_are_found_once_however_many_are_compared_at_a_time(grays, monkeypatch):
    films = [film_of(saved(gray)) for gray in grays[:5]] + [film_of(COPIES["brighter"](gray)) for gray in grays[3:7]]
    expected = [(i, j, value) for i, j, value in near_pairs(films, films) if i < j]
    assert [(i, j) for i, j, _ in expected] == [(3, 5), (4, 6)]
    for block in (1, 2, 4, 100):
        monkeypatch.setattr(duplicates, "_BLOCK", block)
        assert [(i, j) for i, j, _ in near_pairs(films)] == [(3, 5), (4, 6)]
