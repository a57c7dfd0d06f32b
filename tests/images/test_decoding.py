"""One image of any kind to one square of gray bytes."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from skpneumo._images.decoding import ASPECTS, FORMATS, Preprocessing, _gray, look
from skpneumo._images.sources import read_bytes

SIDE = 32
RAMP = (np.arange(SIDE)[:, None] * 3 + np.arange(SIDE) * 5).astype(np.uint8)
GRAY = Image.fromarray(RAMP)
SQUARE = Preprocessing(SIDE)  # an image of its very size passes it unscaled, so exact pixels can be asked for
LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "TIFF packbits": {"compression": "packbits"},
    "WEBP": {"lossless": True, "exact": True},
}


def encode(image, kind, **options):
    """Encode an image, or pixels, as a file; what follows the format in `kind` is for the reader."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind.split()[0], **(LOSSLESS.get(kind, {}) | options))
    return file.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, pixels=b"", depth=8, middle=b""):
    """Write a gray PNG that may claim any size."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), middle, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(pixels, photometric=1, order="<"):
    """Write a gray TIFF as scanners do and Pillow does not."""
    height, width = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    start = 8 + 2 + 10 * 12 + 4
    tags = [
        (256, width),
        (257, height),
        (258, 8 * pixels.itemsize),
        (259, 1),
        (262, photometric),
        (273, start),
        (277, 1),
        (278, height),
        (279, pixels.nbytes),
        (339, kind),
    ]
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(tags))
    for tag, value in tags:
        # A short stands in the first two of its four bytes.
        form = "HHIHH" if value < 2**16 else "HHII"
        fields = (tag, 3, 1, value, 0) if value < 2**16 else (tag, 4, 1, value)
        head += struct.pack(order + form, *fields)
    return head + bytes(4) + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()


def pages(kind, count=2):
    file = io.BytesIO()
    frames = [GRAY.convert("RGB").rotate(90 * turn) for turn in range(count)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def reason(data, square=SQUARE):
    with pytest.raises(ValueError, match=r".") as caught:
        square.decode(data)
    assert type(caught.value) is ValueError
    message = str(caught.value)
    assert 0 < len(message) < 200
    assert "\n" not in message
    return message


def near(decoded, expected):
    return np.abs(decoded.astype(int) - np.asarray(expected, int)).max()


# --- kinds of files and of pixels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_an_image_of_the_very_size_keeps_every_pixel(kind, mode):
    decoded = SQUARE.decode(encode(GRAY.convert(mode), kind))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RAMP)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_in_every_mode_gives_about_the_same_pixels(mode, options):
    assert near(SQUARE.decode(encode(GRAY.convert(mode), "JPEG", quality=95, **options)), RAMP) <= 4


def test_colours_become_luminance():
    red, green, blue = np.eye(3, dtype=np.uint8) * 255
    columns = np.tile(np.repeat([red, green, blue, red], 8, axis=0), (SIDE, 1, 1))
    decoded = SQUARE.decode(encode(columns, "PNG"))
    assert decoded[0, [0, 8, 16, 24]].tolist() == [76, 150, 29, 76]


def test_cmyk_tiff_is_read():
    np.testing.assert_array_equal(SQUARE.decode(encode(GRAY.convert("CMYK"), "TIFF")), RAMP)


def test_lab_tiff_is_read():
    lightness, neutral = Image.fromarray(QUARTERS), Image.new("L", (SIDE, SIDE), 128)
    decoded = SQUARE.decode(encode(Image.merge("LAB", [lightness, neutral, neutral]), "TIFF"))
    assert near(decoded, QUARTERS) <= 12  # lightness is not luminance, but not far from it


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "TIFF lzw"])
def test_palette_gives_the_colours_it_names(kind):
    indices = np.tile(np.arange(SIDE, dtype=np.uint8) % 4, (SIDE, 1))
    image = Image.fromarray(indices).convert("P")
    image.putpalette([200, 200, 200, 10, 10, 10, 90, 90, 90, 255, 255, 255])
    expected = np.array([200, 10, 90, 255])[indices]
    np.testing.assert_array_equal(SQUARE.decode(encode(image, kind)), expected)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_bilevel_becomes_black_and_white(kind):
    bits = RAMP > 100
    decoded = SQUARE.decode(encode(Image.fromarray(bits), kind))
    np.testing.assert_array_equal(decoded, bits * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_lies_over_black(kind, mode):
    image = GRAY.convert(mode)
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:8], alpha[8:16] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    decoded = SQUARE.decode(encode(image, kind))
    np.testing.assert_array_equal(decoded[:8], 0)
    assert near(decoded[8:16], RAMP[8:16] * (128 / 255)) <= 1
    np.testing.assert_array_equal(decoded[16:], RAMP[16:])


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_one_transparent_colour_of_a_png_is_black(mode):
    pixels = np.full((SIDE, SIDE), 40, np.uint8)
    pixels[:8] = 250
    image = Image.fromarray(pixels).convert(mode)
    decoded = SQUARE.decode(encode(image, "PNG", transparency=(250,) * 3 if mode == "RGB" else 250))
    np.testing.assert_array_equal(decoded, np.where(pixels == 250, 0, 40))


def test_the_transparent_level_of_a_16_bit_png_is_black():
    pixels = np.full((SIDE, SIDE), 40, ">u2")
    pixels[:8] = 250
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    decoded = SQUARE.decode(png(SIDE, SIDE, rows, 16, chunk(b"tRNS", struct.pack(">H", 250))))
    np.testing.assert_array_equal(decoded, np.where(pixels == 250, 0, 40))


def test_palette_with_degrees_of_transparency_lies_over_black():
    image = Image.fromarray(np.tile(np.arange(SIDE, dtype=np.uint8) % 3, (SIDE, 1))).convert("P")
    image.putpalette([200, 200, 200] * 3)
    decoded = SQUARE.decode(encode(image, "PNG", transparency=bytes([0, 128, 255])))
    assert near(decoded[0, :3], [0, 100, 200]) <= 1


def test_gray_already_multiplied_by_its_transparency_is_taken_as_it_is():
    image = GRAY.convert("LA")
    image.putalpha(Image.new("L", GRAY.size, 128))
    multiplied = image.convert("La")
    np.testing.assert_array_equal(np.asarray(_gray(multiplied)), np.asarray(multiplied)[..., 0])


# --- deep pixels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF lzw"])
def test_the_16_bit_twin_of_an_8_bit_image_gives_the_same_bytes(kind):
    np.testing.assert_array_equal(SQUARE.decode(encode(RAMP.astype(np.uint16) * 257, kind)), RAMP)


@pytest.mark.parametrize(
    ("dtype", "brightest", "depth"),
    [
        (np.uint16, 255, 8),
        (np.uint16, 256, 10),
        (np.uint16, 1023, 10),
        (np.uint16, 1024, 12),
        (np.uint16, 2500, 12),
        (np.uint16, 4096, 14),
        (np.uint16, 16384, 16),
        (np.uint16, 65535, 16),
        (np.int32, 1000, 10),
        (np.int32, 65536, 17),
        (np.int32, 2**24 - 1, 24),
        (np.int32, 2**31 - 1, 31),
        (np.uint32, 2**31, 32),
        (np.uint32, 2**32 - 1, 32),
    ],
)
def test_integers_keep_their_exposure_in_the_depth_that_holds_the_brightest(dtype, brightest, depth):
    pixels = np.zeros((SIDE, SIDE), dtype)
    pixels[:8], pixels[8:16] = brightest, brightest // 2
    expected = np.rint(pixels.astype(float) * 255 / (2**depth - 1))
    np.testing.assert_array_equal(SQUARE.decode(tiff(pixels)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_negative_integers_are_darker_than_zero(dtype, order):
    pixels = np.zeros((SIDE, SIDE), dtype)
    pixels[:8], pixels[8:16] = -200, 100
    decoded = SQUARE.decode(tiff(pixels, order=order))
    assert decoded[[0, 16, 8], 0].tolist() == [0, round(200 * 255 / 455), round(300 * 255 / 455)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e30])
def test_floats_are_scaled_by_their_own_range(scale, order):
    pixels = (RAMP.astype(np.float32) - 50) * np.float32(scale)
    expected = np.rint(RAMP / RAMP.max() * 255)
    assert near(SQUARE.decode(tiff(pixels, order=order)), expected) <= 1


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pixels_all_alike_are_no_division_by_zero(dtype):
    decoded = SQUARE.decode(tiff(np.zeros((SIDE, SIDE), dtype)))
    np.testing.assert_array_equal(decoded, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_whose_zero_is_white_is_turned_to_zero_is_black(dtype):
    pixels = (255 - RAMP.astype(dtype)) * (257 if dtype is np.uint16 else 1)
    if dtype is np.float32:
        pixels[0, 0], pixels[-1, -1] = 255, 0
    expected = RAMP.copy()
    if dtype is np.float32:
        expected[0, 0], expected[-1, -1] = 0, 255
    np.testing.assert_array_equal(SQUARE.decode(tiff(pixels, photometric=0)), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_refused(value):
    pixels = RAMP.astype(np.float32)
    pixels[3, 3] = value
    assert "not finite" in reason(tiff(pixels))


# --- orientation --------------------------------------------------------------------------------------------------

QUARTERS = np.kron(np.array([[250, 170], [90, 10]], np.uint8), np.ones((16, 16), np.uint8))
STORED = {  # by EXIF orientation: how a camera stores QUARTERS
    1: QUARTERS,
    2: QUARTERS[:, ::-1],
    3: QUARTERS[::-1, ::-1],
    4: QUARTERS[::-1],
    5: QUARTERS.T,
    6: np.rot90(QUARTERS, 1),
    7: QUARTERS[::-1, ::-1].T,
    8: np.rot90(QUARTERS, -1),
}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "TIFF lzw", "WEBP"])
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    data = encode(np.ascontiguousarray(STORED[orientation]), kind, exif=exif(orientation))
    assert near(SQUARE.decode(data), QUARTERS) <= 4


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["I;16", "RGBA", "P", "1"])
def test_pixels_of_every_mode_are_turned_upright(mode, kind, orientation):
    stored, expected = np.ascontiguousarray(STORED[orientation]), QUARTERS
    if mode == "I;16":
        image = Image.fromarray(stored.astype(np.uint16))
    else:
        image = Image.fromarray(stored).convert(mode, dither=Image.Dither.NONE)
        expected = np.where(QUARTERS > 127, 255, 0) if mode == "1" else QUARTERS
    decoded = SQUARE.decode(encode(image, kind, exif=exif(orientation)))
    np.testing.assert_array_equal(decoded, expected)


def test_an_oblong_image_is_turned_before_it_is_cropped():
    pixels = np.zeros((SIDE, 3 * SIDE), np.uint8)
    pixels[:, SIDE : 2 * SIDE] = QUARTERS
    data = encode(np.ascontiguousarray(np.rot90(pixels)), "PNG", exif=exif(6))
    np.testing.assert_array_equal(SQUARE.decode(data), QUARTERS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("broken", [b"Exif\0\0garbage", b"Exif\0\0II", b"Exif\0\0"])
def test_broken_exif_does_not_spoil_the_pixels(kind, broken):
    assert near(SQUARE.decode(encode(GRAY, kind, exif=broken)), RAMP) <= 4


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_an_orientation_that_does_not_exist_is_passed_over(orientation):
    np.testing.assert_array_equal(SQUARE.decode(encode(RAMP, "PNG", exif=exif(orientation))), RAMP)


# --- size and shape -----------------------------------------------------------------------------------------------

THIRDS = np.kron(np.array([[60, 120, 240]], np.uint8), np.ones((SIDE, SIDE), np.uint8))


@pytest.mark.parametrize("upright", [False, True], ids=["wide", "high"])
def test_crop_keeps_the_centre(upright):
    decoded = SQUARE.decode(encode(np.ascontiguousarray(THIRDS.T) if upright else THIRDS, "PNG"))
    np.testing.assert_array_equal(decoded, 120)


@pytest.mark.parametrize("upright", [False, True], ids=["wide", "high"])
def test_pad_keeps_the_whole_in_the_middle_of_black(upright):
    square = Preprocessing(SIDE, "pad")
    decoded = square.decode(encode(np.ascontiguousarray(THIRDS.T) if upright else THIRDS, "PNG"))
    decoded = decoded.T if upright else decoded
    filled = np.flatnonzero(decoded.any(axis=1))
    assert (filled[0], filled[-1]) == (10, 20)  # 32 / 3 is 11 rows, as near to the middle as can be
    assert decoded[15, [0, 16, 31]].tolist() == [60, 120, 240]


def test_stretch_keeps_the_whole_and_fills_the_square():
    decoded = Preprocessing(SIDE, "stretch").decode(encode(THIRDS, "PNG"))
    assert decoded[[0, 0, 0, 31, 31, 31], [0, 16, 31, 0, 16, 31]].tolist() == [60, 120, 240] * 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (1, 3000), (3000, 1), (5000, 3), (700, 500)])
def test_an_image_of_any_size_fills_its_square(size, aspect, kind):
    decoded = Preprocessing(SIDE, aspect).decode(encode(Image.new("L", size, 77), kind))
    assert decoded.shape == (SIDE, SIDE)
    assert decoded.dtype == np.uint8
    assert decoded.max() == 77
    if aspect == "pad":
        long, short = max(size), min(size)
        assert (decoded == 77).sum() == SIDE * max(1, round(SIDE * short / long))
    else:
        assert decoded.min() == 77


def test_a_large_image_is_averaged_not_sampled():
    checks = np.indices((320, 320)).sum(axis=0) % 2 * 255
    decoded = SQUARE.decode(encode(checks.astype(np.uint8), "PNG"))
    assert near(decoded, np.full((SIDE, SIDE), 127.5)) <= 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(("side", "tolerance"), [(4 * SIDE - 1, 2), (4 * SIDE, 20), (16 * SIDE, 6)])
def test_a_large_jpeg_is_read_in_no_less_than_twice_the_target(side, tolerance, mode):
    # Noise: what a decoder throws away first. Read at the bare target it would be wrong by 17, 38 and 17 levels.
    noise = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    data = encode(Image.fromarray(noise).convert(mode), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as whole:
        expected = SQUARE.decode(encode(whole.convert("RGB").convert("L"), "PNG"))
    assert near(SQUARE.decode(data), expected) <= tolerance


def test_equalize_spreads_the_levels():
    dull = encode(100 + RAMP // 8, "PNG")
    equalized = Preprocessing(SIDE, contrast="equalize").decode(dull)
    assert (equalized.min(), equalized.max()) == (0, 255)
    assert np.ptp(SQUARE.decode(dull)) == np.ptp(RAMP // 8)


def test_equalize_does_not_count_the_black_of_padding():
    strip = 100 + RAMP[:8]
    decoded = Preprocessing(SIDE, "pad", "equalize").decode(encode(strip, "PNG"))
    np.testing.assert_array_equal(decoded[12:20], ImageOps.equalize(Image.fromarray(strip)))
    np.testing.assert_array_equal(decoded[[*range(12), *range(20, 32)]], 0)


def test_the_key_tells_apart_whatever_shapes_the_bytes():
    squares = [Preprocessing(size, a, c) for size in (32, 64, 224) for a in ASPECTS for c in (None, "equalize")]
    assert len({square.key() for square in squares}) == len(squares)
    assert Preprocessing(64, "pad").key() == Preprocessing(64, "pad").key()


# --- odd files that are fine --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_after_the_end_of_the_image_are_passed_over(kind):
    data = encode(GRAY, kind)
    np.testing.assert_array_equal(SQUARE.decode(data + bytes(1000) + b"tail"), SQUARE.decode(data))


@pytest.mark.parametrize("name", ["film.JPG", "film.jpeg", "film.tif", "film.dcm", "film"])
def test_the_content_says_the_format_not_the_ending(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encode(GRAY, "PNG"))
    np.testing.assert_array_equal(SQUARE.decode(read_bytes(str(path))), RAMP)


def test_a_jpeg_with_a_second_picture_for_the_camera_gives_the_first():
    first = SQUARE.decode(encode(GRAY.convert("RGB"), "JPEG"))
    np.testing.assert_array_equal(SQUARE.decode(pages("MPO")), first)


def test_a_png_whose_pixels_are_all_there_needs_no_end():
    data = encode(GRAY, "PNG")
    np.testing.assert_array_equal(SQUARE.decode(data[:-12]), RAMP)


def test_pixels_beyond_the_last_row_are_not_unpacked():
    rows = b"".join(b"\0" + row.tobytes() for row in RAMP)
    np.testing.assert_array_equal(SQUARE.decode(png(SIDE, SIDE, rows + bytes(10**7))), RAMP)


# --- files that are not fine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"some notes\n" * 99, b"%PDF-1.7\n" + bytes(99), bytes(128) + b"DICM", encode(GRAY, "GIF")],
    ids=["empty", "byte", "text", "pdf", "dicom", "gif"],
)
def test_what_is_no_image_of_the_formats_is_refused(data):
    assert reason(data).startswith("not an image")
    with pytest.raises(ValueError, match=r"^not an image"):
        look(data)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_an_image_without_pixels_is_refused(size):
    assert reason(png(*size)).startswith("not an image")


@pytest.mark.parametrize("kind", [*FORMATS, *(kind for kind in LOSSLESS if " " in kind)])
def test_a_file_cut_short_is_refused_wherever_its_pixels_are_cut(kind):
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    data = encode(noise, kind)
    whole = SQUARE.decode(data)
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 40, len(data))}:
        try:
            decoded = SQUARE.decode(data[:length])
        except ValueError:
            continue
        # Nothing but bytes behind the pixels may be missing.
        assert length > len(data) - 40
        np.testing.assert_array_equal(decoded, whole)


def test_a_progressive_jpeg_without_its_last_scans_is_refused():
    data = encode(GRAY.convert("RGB"), "JPEG", progressive=True)
    for length in range(len(data) // 2, len(data), 16):
        reason(data[:length])


@pytest.mark.filterwarnings("ignore")  # Pillow's, about metadata
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[(kind, mode) for kind in FORMATS for mode in ("L", "RGB")],
        *[(kind, mode) for kind in ("PNG", "TIFF", "TIFF lzw") for mode in ("P", "1", "RGBA", "I;16")],
        ("JPEG", "CMYK"),
        ("WEBP", "RGBA"),
    ],
)
def test_flipped_bytes_end_in_a_square_or_in_a_reason(kind, mode):
    image = Image.fromarray(RAMP.astype(np.uint16)) if mode == "I;16" else GRAY.convert(mode)
    data = encode(image, kind)
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            broken[place] = rng.integers(0, 256)
        try:
            assert SQUARE.decode(bytes(broken)).shape == (SIDE, SIDE)
        except ValueError as error:
            reasons.append(str(error))
    assert reasons
    assert all(reasons)


def test_flipped_pixels_of_a_png_are_noticed():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    data = encode(noise, "PNG", compress_level=0)  # stored as they are, so only a checksum can tell
    for place in range(len(data) // 2, len(data) // 2 + 50):
        reason(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])


def test_a_png_whose_header_fails_its_checksum_is_refused():
    data = bytearray(encode(GRAY, "PNG"))
    data[29] ^= 1
    assert reason(bytes(data)).startswith("not an image")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "data",
    [png(2**31 - 1, 2**31 - 1), png(20000, 20000), png(10000, 10000), png(10**8, 1)],
    ids=["header", "bomb", "large", "long"],
)
def test_what_is_absurdly_large_is_refused_by_its_head(data):
    assert reason(data).startswith("absurdly large")


def test_what_is_absurdly_large_is_refused_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(png(10000, 10000)).startswith("absurdly large")


def test_text_that_unpacks_to_a_bomb_is_refused():
    bomb = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(10**7)))
    data = encode(GRAY, "PNG")
    assert reason(data[:33] + bomb + data[33:]).startswith("cannot be opened")


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_a_file_of_several_images_is_refused(kind):
    assert reason(pages(kind, 3)).startswith("holds 3 images")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_glance_passes_what_can_be_decoded(kind):
    assert look(encode(GRAY, kind)) is None


# --- manners ------------------------------------------------------------------------------------------------------


def many():
    """Files of many kinds, some of them broken."""
    good = [encode(GRAY.convert("RGB"), kind, exif=exif(6)) for kind in FORMATS if kind != "BMP"]
    deep = [encode(RAMP.astype(np.uint16) * 257, kind) for kind in ("PNG", "TIFF lzw")]
    return [*good, *deep, encode(GRAY.convert("RGBA"), "PNG"), good[0][:300], b"text", pages("TIFF")]


def outcome(data):
    try:
        return SQUARE.decode(data).tobytes()
    except ValueError as error:
        return str(error)


def test_the_settings_of_pillow_and_of_warnings_stay_as_they_were():
    def settings():
        pillow = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        return pillow, list(warnings.filters), warnings.showwarning

    before = settings()
    for data in [*many(), png(20000, 20000)]:
        outcome(data)
    assert settings() == before


def test_threads_give_what_one_thread_gives():
    files = many() * 20
    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files)) == alone
