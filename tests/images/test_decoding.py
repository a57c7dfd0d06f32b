"""Decoding of images of any format and mode."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from skpneumo._images.decoding import ASPECTS, FORMATS, N_FIRST_BYTES, Preprocessing, _gray, kind_of, look
from skpneumo._images.sources import read_bytes

SIDE = 32
RAMP = (np.arange(SIDE)[:, None] * 3 + np.arange(SIDE) * 5).astype(np.uint8)
GRAY = Image.fromarray(RAMP)
PREPROCESSING = Preprocessing(SIDE)  # images of this size are not resized, so that pixels can be compared exactly
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
    """Encode an image or pixels as a file; `kind` starts with the format."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind.split()[0], **(LOSSLESS.get(kind, {}) | options))
    return file.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, pixels=b"", depth=8, middle=b""):
    """Return a gray PNG whose header may hold any size."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), middle, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(pixels, photometric=1, order="<"):
    """Return a gray TIFF of a kind that scanners write and Pillow does not."""
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
        # A short value is in the first two of the four bytes.
        form = "HHIHH" if value < 2**16 else "HHII"
        fields = (tag, 3, 1, value, 0) if value < 2**16 else (tag, 4, 1, value)
        head += struct.pack(order + form, *fields)
    return head + bytes(4) + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()


def pages(kind, count=2):
    file = io.BytesIO()
    frames = [GRAY.convert("RGB").rotate(90 * turn) for turn in range(count)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def reason(data, preprocessing=PREPROCESSING):
    with pytest.raises(ValueError, match=r".") as caught:
        preprocessing.decode(data)
    assert type(caught.value) is ValueError
    message = str(caught.value)
    assert 0 < len(message) < 200
    assert "\n" not in message
    return message


def near(decoded, expected):
    return np.abs(decoded.astype(int) - np.asarray(expected, int)).max()


# File formats and pixel modes


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_image_of_target_size_keeps_every_pixel(kind, mode):
    decoded = PREPROCESSING.decode(encode(GRAY.convert(mode), kind))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RAMP)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode_gives_similar_pixels(mode, options):
    assert near(PREPROCESSING.decode(encode(GRAY.convert(mode), "JPEG", quality=95, **options)), RAMP) <= 4


def test_colors_are_converted_to_luminance():
    red, green, blue = np.eye(3, dtype=np.uint8) * 255
    columns = np.tile(np.repeat([red, green, blue, red], 8, axis=0), (SIDE, 1, 1))
    decoded = PREPROCESSING.decode(encode(columns, "PNG"))
    assert decoded[0, [0, 8, 16, 24]].tolist() == [76, 150, 29, 76]


def test_cmyk_tiff():
    np.testing.assert_array_equal(PREPROCESSING.decode(encode(GRAY.convert("CMYK"), "TIFF")), RAMP)


def test_lab_tiff():
    lightness, neutral = Image.fromarray(QUARTERS), Image.new("L", (SIDE, SIDE), 128)
    decoded = PREPROCESSING.decode(encode(Image.merge("LAB", [lightness, neutral, neutral]), "TIFF"))
    assert near(decoded, QUARTERS) <= 12  # lightness is close to luminance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "TIFF lzw"])
def test_palette_gives_its_colors(kind):
    indices = np.tile(np.arange(SIDE, dtype=np.uint8) % 4, (SIDE, 1))
    image = Image.fromarray(indices).convert("P")
    image.putpalette([200, 200, 200, 10, 10, 10, 90, 90, 90, 255, 255, 255])
    expected = np.array([200, 10, 90, 255])[indices]
    np.testing.assert_array_equal(PREPROCESSING.decode(encode(image, kind)), expected)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_bilevel_becomes_black_and_white(kind):
    bits = RAMP > 100
    decoded = PREPROCESSING.decode(encode(Image.fromarray(bits), kind))
    np.testing.assert_array_equal(decoded, bits * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_are_blended_with_black(kind, mode):
    image = GRAY.convert(mode)
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:8], alpha[8:16] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    decoded = PREPROCESSING.decode(encode(image, kind))
    np.testing.assert_array_equal(decoded[:8], 0)
    assert near(decoded[8:16], RAMP[8:16] * (128 / 255)) <= 1
    np.testing.assert_array_equal(decoded[16:], RAMP[16:])


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparent_color_of_png_is_black(mode):
    pixels = np.full((SIDE, SIDE), 40, np.uint8)
    pixels[:8] = 250
    image = Image.fromarray(pixels).convert(mode)
    decoded = PREPROCESSING.decode(encode(image, "PNG", transparency=(250,) * 3 if mode == "RGB" else 250))
    np.testing.assert_array_equal(decoded, np.where(pixels == 250, 0, 40))


def test_transparent_level_of_16_bit_png_is_black():
    pixels = np.full((SIDE, SIDE), 40, ">u2")
    pixels[:8] = 250
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    decoded = PREPROCESSING.decode(png(SIDE, SIDE, rows, 16, chunk(b"tRNS", struct.pack(">H", 250))))
    np.testing.assert_array_equal(decoded, np.where(pixels == 250, 0, 40))


def test_partly_transparent_palette_is_blended_with_black():
    image = Image.fromarray(np.tile(np.arange(SIDE, dtype=np.uint8) % 3, (SIDE, 1))).convert("P")
    image.putpalette([200, 200, 200] * 3)
    decoded = PREPROCESSING.decode(encode(image, "PNG", transparency=bytes([0, 128, 255])))
    assert near(decoded[0, :3], [0, 100, 200]) <= 1


def test_premultiplied_gray_is_unchanged():
    image = GRAY.convert("LA")
    image.putalpha(Image.new("L", GRAY.size, 128))
    multiplied = image.convert("La")
    np.testing.assert_array_equal(np.asarray(_gray(multiplied)), np.asarray(multiplied)[..., 0])


# More than 8 bits per pixel


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF lzw"])
def test_16_bit_copy_of_8_bit_image_gives_equal_bytes(kind):
    np.testing.assert_array_equal(PREPROCESSING.decode(encode(RAMP.astype(np.uint16) * 257, kind)), RAMP)


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
def test_integers_are_scaled_by_smallest_bit_depth_of_the_brightest(dtype, brightest, depth):
    pixels = np.zeros((SIDE, SIDE), dtype)
    pixels[:8], pixels[8:16] = brightest, brightest // 2
    expected = np.rint(pixels.astype(float) * 255 / (2**depth - 1))
    np.testing.assert_array_equal(PREPROCESSING.decode(tiff(pixels)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_negative_integers_are_darker_than_zero(dtype, order):
    pixels = np.zeros((SIDE, SIDE), dtype)
    pixels[:8], pixels[8:16] = -200, 100
    decoded = PREPROCESSING.decode(tiff(pixels, order=order))
    assert decoded[[0, 16, 8], 0].tolist() == [0, round(200 * 255 / 455), round(300 * 255 / 455)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e30])
def test_floats_are_scaled_by_their_own_range(scale, order):
    pixels = (RAMP.astype(np.float32) - 50) * np.float32(scale)
    expected = np.rint(RAMP / RAMP.max() * 255)
    assert near(PREPROCESSING.decode(tiff(pixels, order=order)), expected) <= 1


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_constant_pixels_are_not_divided_by_zero(dtype):
    decoded = PREPROCESSING.decode(tiff(np.zeros((SIDE, SIDE), dtype)))
    np.testing.assert_array_equal(decoded, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_with_white_zero_is_inverted(dtype):
    pixels = (255 - RAMP.astype(dtype)) * (257 if dtype is np.uint16 else 1)
    if dtype is np.float32:
        pixels[0, 0], pixels[-1, -1] = 255, 0
    expected = RAMP.copy()
    if dtype is np.float32:
        expected[0, 0], expected[-1, -1] = 0, 255
    np.testing.assert_array_equal(PREPROCESSING.decode(tiff(pixels, photometric=0)), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_raise(value):
    pixels = RAMP.astype(np.float32)
    pixels[3, 3] = value
    assert "not finite" in reason(tiff(pixels))


# Orientation

QUARTERS = np.kron(np.array([[250, 170], [90, 10]], np.uint8), np.ones((16, 16), np.uint8))
STORED = {  # by EXIF orientation: QUARTERS as a camera stores it
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
def test_every_exif_orientation_becomes_upright(kind, orientation):
    data = encode(np.ascontiguousarray(STORED[orientation]), kind, exif=exif(orientation))
    assert near(PREPROCESSING.decode(data), QUARTERS) <= 4


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["I;16", "RGBA", "P", "1"])
def test_images_of_every_mode_become_upright(mode, kind, orientation):
    stored, expected = np.ascontiguousarray(STORED[orientation]), QUARTERS
    if mode == "I;16":
        image = Image.fromarray(stored.astype(np.uint16))
    else:
        image = Image.fromarray(stored).convert(mode, dither=Image.Dither.NONE)
        expected = np.where(QUARTERS > 127, 255, 0) if mode == "1" else QUARTERS
    decoded = PREPROCESSING.decode(encode(image, kind, exif=exif(orientation)))
    np.testing.assert_array_equal(decoded, expected)


def test_image_becomes_upright_before_it_is_cropped():
    pixels = np.zeros((SIDE, 3 * SIDE), np.uint8)
    pixels[:, SIDE : 2 * SIDE] = QUARTERS
    data = encode(np.ascontiguousarray(np.rot90(pixels)), "PNG", exif=exif(6))
    np.testing.assert_array_equal(PREPROCESSING.decode(data), QUARTERS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("broken", [b"Exif\0\0garbage", b"Exif\0\0II", b"Exif\0\0"])
def test_broken_exif_is_ignored(kind, broken):
    assert near(PREPROCESSING.decode(encode(GRAY, kind, exif=broken)), RAMP) <= 4


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_invalid_orientation_is_ignored(orientation):
    np.testing.assert_array_equal(PREPROCESSING.decode(encode(RAMP, "PNG", exif=exif(orientation))), RAMP)


# Size and shape

THIRDS = np.kron(np.array([[60, 120, 240]], np.uint8), np.ones((SIDE, SIDE), np.uint8))


@pytest.mark.parametrize("upright", [False, True], ids=["wide", "high"])
def test_crop_keeps_the_center(upright):
    decoded = PREPROCESSING.decode(encode(np.ascontiguousarray(THIRDS.T) if upright else THIRDS, "PNG"))
    np.testing.assert_array_equal(decoded, 120)


@pytest.mark.parametrize("upright", [False, True], ids=["wide", "high"])
def test_pad_centers_the_whole_image_on_black(upright):
    preprocessing = Preprocessing(SIDE, "pad")
    decoded = preprocessing.decode(encode(np.ascontiguousarray(THIRDS.T) if upright else THIRDS, "PNG"))
    decoded = decoded.T if upright else decoded
    filled = np.flatnonzero(decoded.any(axis=1))
    assert (filled[0], filled[-1]) == (10, 20)  # 32 / 3 gives 11 rows, centered
    assert decoded[15, [0, 16, 31]].tolist() == [60, 120, 240]


def test_stretch_fills_the_square_with_the_whole_image():
    decoded = Preprocessing(SIDE, "stretch").decode(encode(THIRDS, "PNG"))
    assert decoded[[0, 0, 0, 31, 31, 31], [0, 16, 31, 0, 16, 31]].tolist() == [60, 120, 240] * 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (1, 3000), (3000, 1), (5000, 3), (700, 500)])
def test_images_of_any_size_and_shape(size, aspect, kind):
    decoded = Preprocessing(SIDE, aspect).decode(encode(Image.new("L", size, 77), kind))
    assert decoded.shape == (SIDE, SIDE)
    assert decoded.dtype == np.uint8
    assert decoded.max() == 77
    if aspect == "pad":
        long, short = max(size), min(size)
        assert (decoded == 77).sum() == SIDE * max(1, round(SIDE * short / long))
    else:
        assert decoded.min() == 77


def test_large_image_is_averaged():
    checks = np.indices((320, 320)).sum(axis=0) % 2 * 255
    decoded = PREPROCESSING.decode(encode(checks.astype(np.uint8), "PNG"))
    assert near(decoded, np.full((SIDE, SIDE), 127.5)) <= 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(("side", "tolerance"), [(4 * SIDE - 1, 2), (4 * SIDE, 20), (16 * SIDE, 6)])
def test_large_jpeg_is_decoded_at_twice_the_target_size_or_more(side, tolerance, mode):
    # Noise is what a reduced scale loses first: decoding at the target size would be off by 17, 38 and 17 levels.
    noise = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    data = encode(Image.fromarray(noise).convert(mode), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as whole:
        expected = PREPROCESSING.decode(encode(whole.convert("RGB").convert("L"), "PNG"))
    assert near(PREPROCESSING.decode(data), expected) <= tolerance


def test_equalize_uses_the_full_range():
    dull = encode(100 + RAMP // 8, "PNG")
    equalized = Preprocessing(SIDE, contrast="equalize").decode(dull)
    assert (equalized.min(), equalized.max()) == (0, 255)
    assert np.ptp(PREPROCESSING.decode(dull)) == np.ptp(RAMP // 8)


def test_equalize_ignores_padding():
    strip = 100 + RAMP[:8]
    decoded = Preprocessing(SIDE, "pad", "equalize").decode(encode(strip, "PNG"))
    np.testing.assert_array_equal(decoded[12:20], ImageOps.equalize(Image.fromarray(strip)))
    np.testing.assert_array_equal(decoded[[*range(12), *range(20, 32)]], 0)


def test_key_depends_on_all_parameters():
    variants = [Preprocessing(size, a, c) for size in (32, 64, 224) for a in ASPECTS for c in (None, "equalize")]
    assert len({each.key() for each in variants}) == len(variants)
    assert Preprocessing(64, "pad").key() == Preprocessing(64, "pad").key()


# Unusual but valid files


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_after_the_image_are_ignored(kind):
    data = encode(GRAY, kind)
    np.testing.assert_array_equal(PREPROCESSING.decode(data + bytes(1000) + b"tail"), PREPROCESSING.decode(data))


@pytest.mark.parametrize("name", ["image.JPG", "image.jpeg", "image.tif", "image.dcm", "image"])
def test_format_depends_on_content_not_on_extension(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encode(GRAY, "PNG"))
    np.testing.assert_array_equal(PREPROCESSING.decode(read_bytes(str(path))), RAMP)


def test_first_image_of_mpo_is_used():
    first = PREPROCESSING.decode(encode(GRAY.convert("RGB"), "JPEG"))
    np.testing.assert_array_equal(PREPROCESSING.decode(pages("MPO")), first)


def test_png_without_end_chunk_is_decoded():
    data = encode(GRAY, "PNG")
    np.testing.assert_array_equal(PREPROCESSING.decode(data[:-12]), RAMP)


def test_pixels_after_the_last_row_are_ignored():
    rows = b"".join(b"\0" + row.tobytes() for row in RAMP)
    np.testing.assert_array_equal(PREPROCESSING.decode(png(SIDE, SIDE, rows + bytes(10**7))), RAMP)


# Invalid files


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"some notes\n" * 99, b"%PDF-1.7\n" + bytes(99), encode(GRAY, "GIF")],
    ids=["empty", "byte", "text", "pdf", "gif"],
)
def test_other_formats_raise(data):
    assert reason(data).startswith("not an image")
    with pytest.raises(ValueError, match=r"^not an image"):
        look(data)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_image_without_pixels_raises(size):
    assert reason(png(*size)).startswith("not an image")


@pytest.mark.parametrize("kind", [*FORMATS, *(kind for kind in LOSSLESS if " " in kind)])
def test_truncated_file_raises(kind):
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    data = encode(noise, kind)
    whole = PREPROCESSING.decode(data)
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 40, len(data))}:
        try:
            decoded = PREPROCESSING.decode(data[:length])
        except ValueError:
            continue
        # Only bytes after the pixels may be missing.
        assert length > len(data) - 40
        np.testing.assert_array_equal(decoded, whole)


def test_progressive_jpeg_without_last_scans_raises():
    data = encode(GRAY.convert("RGB"), "JPEG", progressive=True)
    for length in range(len(data) // 2, len(data), 16):
        reason(data[:length])


@pytest.mark.filterwarnings("ignore")  # from Pillow, about metadata
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[(kind, mode) for kind in FORMATS for mode in ("L", "RGB")],
        *[(kind, mode) for kind in ("PNG", "TIFF", "TIFF lzw") for mode in ("P", "1", "RGBA", "I;16")],
        ("JPEG", "CMYK"),
        ("WEBP", "RGBA"),
    ],
)
def test_corrupt_bytes_give_an_image_or_raise_value_error(kind, mode):
    image = Image.fromarray(RAMP.astype(np.uint16)) if mode == "I;16" else GRAY.convert(mode)
    data = encode(image, kind)
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            broken[place] = rng.integers(0, 256)
        try:
            assert PREPROCESSING.decode(bytes(broken)).shape == (SIDE, SIDE)
        except ValueError as error:
            reasons.append(str(error))
    assert reasons
    assert all(reasons)


def test_corrupt_pixels_of_png_raise():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    data = encode(noise, "PNG", compress_level=0)  # stored uncompressed, so that only the checksum is wrong
    for place in range(len(data) // 2, len(data) // 2 + 50):
        reason(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])


def test_png_with_wrong_header_checksum_raises():
    data = bytearray(encode(GRAY, "PNG"))
    data[29] ^= 1
    assert reason(bytes(data)).startswith("not an image")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "data",
    [png(2**31 - 1, 2**31 - 1), png(20000, 20000), png(10000, 10000), png(10**8, 1)],
    ids=["header", "bomb", "large", "long"],
)
def test_too_large_image_raises_from_its_header(data):
    assert reason(data).startswith("too large")


def test_too_large_image_raises_if_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(png(10000, 10000)).startswith("too large")


def test_compressed_text_of_excessive_size_raises():
    bomb = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(10**7)))
    data = encode(GRAY, "PNG")
    assert reason(data[:33] + bomb + data[33:]).startswith("cannot be opened")


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_file_with_several_images_raises(kind):
    assert reason(pages(kind, 3)).startswith("holds several images" if kind == "TIFF" else "holds 3 images")


@pytest.mark.parametrize("kind", FORMATS)
def test_first_bytes_determine_the_format(kind):
    data = encode(GRAY, kind)
    assert look(data) is None
    assert kind_of(data[:N_FIRST_BYTES]) == kind
    assert kind_of(data[:2]) is None


@pytest.mark.parametrize("start", [b"BMI and age of 5,856 children", b"II. Results", b"MM", b"RIFF....WAVEfmt "])
def test_text_and_sound_are_not_mistaken_for_images(start):
    assert kind_of(start + bytes(200)) is None


# Side effects and threads


def many():
    """Return files of many formats, some of them invalid."""
    good = [encode(GRAY.convert("RGB"), kind, exif=exif(6)) for kind in FORMATS if kind != "BMP"]
    sixteen_bit = [encode(RAMP.astype(np.uint16) * 257, kind) for kind in ("PNG", "TIFF lzw")]
    return [*good, *sixteen_bit, encode(GRAY.convert("RGBA"), "PNG"), good[0][:300], b"text", pages("TIFF")]


def outcome(data):
    try:
        return PREPROCESSING.decode(data).tobytes()
    except ValueError as error:
        return str(error)


def test_settings_of_pillow_and_warnings_are_unchanged():
    def settings():
        pillow = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
        return pillow, list(warnings.filters), warnings.showwarning

    before = settings()
    for data in [*many(), png(20000, 20000)]:
        outcome(data)
    assert settings() == before


def test_threads_give_equal_results():
    files = many() * 20
    expected = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files)) == expected
