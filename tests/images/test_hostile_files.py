"""Damaged files, and small files that would be costly to decode."""

import io
import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dicom_files import deflated, dicom
from skpneumo._images import decoding, memory, opening
from skpneumo._images.decoding import Preprocessing, sides, whole
from skpneumo._images.memory import Budget, memory_for

SIDE = 24
RAMP = (np.arange(SIDE)[:, None] * 3 + np.arange(SIDE) * 5).astype(np.uint8)
GRAY = Image.fromarray(RAMP)
PREPROCESSING = Preprocessing(SIDE)


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif():
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x0128] = 6, "maker of detectors", 2
    return tags


def run_lengths(pixels):
    """Return a BMP whose pixels are runs of one."""
    runs = b"".join(b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in pixels[::-1]) + b"\0\1"
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    start = 54 + len(palette)
    sizes = struct.pack("<IiiHHIIiiII", 40, pixels.shape[1], pixels.shape[0], 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + sizes + palette + runs


def files():
    rgb = GRAY.convert("RGB")
    found = {kind: encode(rgb, kind, exif=exif()) for kind in ("JPEG", "PNG", "TIFF", "WEBP")}
    found |= {"BMP": encode(GRAY, "BMP"), "BMP of runs": run_lengths(RAMP)}
    found |= {f"TIFF {each}": encode(GRAY, "TIFF", compression=each) for each in ("tiff_lzw", "jpeg", "packbits")}
    found |= {f"{kind} of 16 bits": encode(Image.fromarray(RAMP * np.uint16(99)), kind) for kind in ("PNG", "TIFF")}
    found |= {f"{mode} PNG": encode(GRAY.convert(mode), "PNG") for mode in ("P", "RGBA")}
    found["float TIFF"] = encode(GRAY.convert("F"), "TIFF")
    for kind in ("PNG", "MPO"):
        found[f"{kind} of two images"] = encode(rgb, kind, save_all=True, append_images=[rgb.rotate(90)])
    found |= {
        "DICOM": dicom(RAMP.astype(np.uint16) * 9, 12, WindowCenter=99.0, WindowWidth=200.0),
        "deflated": deflated(RAMP),
    }
    return found


def damaged(data, rng):
    data = bytearray(data)
    match rng.integers(0, 4):
        case 0:
            return bytes(data[: rng.integers(0, len(data))])
        case 1:
            for place in rng.integers(0, len(data), rng.integers(1, 5)):
                data[place] = rng.integers(0, 256)
        case 2:
            data[rng.integers(0, min(len(data), 300))] = rng.choice([0, 1, 127, 128, 255])
        case 3:
            start = rng.integers(0, len(data))
            del data[start : start + rng.integers(1, 40)]
    return bytes(data)


def outcome(data, decode=PREPROCESSING.decode):
    try:
        return np.asarray(decode(data)).tobytes()
    except ValueError as error:
        return str(error) if type(error) is ValueError else repr(error)


@pytest.mark.parametrize("name", files())
def test_outcome_of_damaged_file_does_not_depend_on_warnings(name):
    data, rng = files()[name], np.random.default_rng(0)
    for _ in range(25):
        broken, outcomes = damaged(data, rng), []
        for action in ("ignore", "error"):
            with warnings.catch_warnings():
                warnings.simplefilter(action)
                outcomes.append([outcome(broken), outcome(broken, sides), outcome(broken, lambda each: whole(each)[1])])
        assert outcomes[0] == outcomes[1]


# Files of which Pillow warns


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_tag(data, tag, kind, count, value):
    """Return a TIFF file with a further, last entry in its directory."""
    (start,) = struct.unpack_from("<I", data, 4)
    (n_entries,) = struct.unpack_from("<H", data, start)
    entries = data[start + 2 : start + 2 + 12 * n_entries] + struct.pack("<HHII", tag, kind, count, value)
    directory = struct.pack("<H", n_entries + 1) + entries + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


def with_warning(name):
    """Return two files: one of which Pillow warns, and one that has the same pixels."""
    gray, upright = encode(GRAY, "PNG"), encode(GRAY.transpose(Image.Transpose.ROTATE_270), "PNG")
    turned = struct.pack("<HHII", 0x0112, 3, 1, 6)
    bad = struct.pack("<HHII", 0x013B, 2, 500, 10**6)  # a text outside of the data
    data = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + bad + bytes(4)
    jpeg = encode(GRAY, "JPEG")
    return {
        "tag outside of TIFF": (with_tag(encode(GRAY, "TIFF"), 305, 2, 500, 10**6), gray),
        "tag with several values": (with_tag(encode(GRAY, "TIFF"), 296, 3, 2, 2), gray),
        "EXIF of PNG": (gray[:33] + chunk(b"eXIf", data[6:]) + gray[33:], upright),
        "EXIF after pixels of PNG": (gray[:-12] + chunk(b"eXIf", data[6:]) + gray[-12:], upright),
        "EXIF of WebP": (encode(GRAY.convert("RGB"), "WEBP", lossless=True, exif=data), upright),
        "no animation": (gray[:33] + chunk(b"acTL", bytes(8)) + gray[33:], gray),
        "MPO": (jpeg[:2] + b"\xff\xe2\0\x10MPF\0II*\0\x08\0\0\0" + jpeg[2:], jpeg),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        *("tag outside of TIFF", "tag with several values", "EXIF of PNG", "EXIF after pixels of PNG", "EXIF of WebP"),
        *("no animation", "MPO"),
    ],
)
def test_file_of_which_pillow_warns_is_decoded_without_warning(name):
    data, same = with_warning(name)
    assert outcome(data) == outcome(same)
    assert sides(data) == sides(same)


def test_size_is_checked_without_warning(monkeypatch):
    images = files()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE - 1)
    for name, data in images.items():
        assert outcome(data).startswith(("too large", "holds")), name


# Small files that are costly


def costly(name):
    png, jpeg, tiff = (encode(GRAY, kind) for kind in ("PNG", "JPEG", "TIFF"))
    first = jpeg.index(b"\xff\xda")
    (start,) = struct.unpack_from("<I", tiff, 4)
    (n_entries,) = struct.unpack_from("<H", tiff, start)
    end = start + 2 + 12 * n_entries
    return {
        "scans": (jpeg[:-2] + jpeg[first:-2] * 101 + jpeg[-2:], "too slow to decode: more than 100 scans"),
        "segments": (jpeg[:2] + b"\xff\xe1\0\2" * 20_000 + jpeg[2:], "too slow to decode: more than 10000 segments"),
        "fill bytes": (jpeg[:2] + b"\xff" * 20_000 + jpeg[2:], "too slow to decode: more than 10000 segments"),
        "chunks": (png[:33] + chunk(b"abCd", b"") * 11_000 + png[33:], "too slow to decode: more than 1"),
        "strips": (with_tag(tiff, 324, 4, 10_000, 8) + bytes(40_000), "a damaged TIFF file: it has 10000 strips"),
        "directories": (tiff[:end] + struct.pack("<I", len(tiff)) + tiff[end + 4 :], "holds several images"),
        "entries": (tiff[:start] + b"\xff\xff" + tiff[start + 2 :], "a damaged TIFF file: its directory has 65535"),
    }[name]


@pytest.mark.parametrize("name", ["scans", "segments", "fill bytes", "chunks", "strips", "directories", "entries"])
def test_costly_file_raises(name):
    data, reason = costly(name)
    assert outcome(data).startswith(reason)


def test_runs_of_many_pixels_raise(monkeypatch):
    monkeypatch.setattr(opening, "_MAX_RUN_LENGTH_PIXELS", 100)
    assert outcome(run_lengths(RAMP)).startswith("too slow to decode: 24 x 24 pixels in runs")
    assert outcome(encode(GRAY, "BMP")) == RAMP.tobytes()


def test_fax_of_many_rows_raises():
    data = encode(Image.new("1", (1, 2**16 + 1)), "TIFF", compression="group3")
    assert outcome(data).startswith("too slow to decode: 65537 rows in the coding of a fax")


def test_sides_of_png_are_read_without_decoding():
    data = encode(GRAY, "PNG")
    assert sides(data[: data.index(b"IDAT") + 6]) == (SIDE, SIDE)


# Memory


def test_image_that_needs_too_much_memory_raises_with_its_size(monkeypatch):
    monkeypatch.setattr(memory, "MAX_IMAGE_BYTES", 100)
    for name, data in files().items():
        if "two" not in name:
            assert outcome(data).startswith(f"too large: {SIDE} x {SIDE} pixels need about "), name


def test_threads_wait_for_memory():
    budget, lock, held, most = Budget(10), threading.Lock(), [0], [0]

    def use(n_bytes):
        with budget.hold(n_bytes):
            with lock:
                held[0] += min(n_bytes, 10)
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.001)
            with lock:
                held[0] -= min(n_bytes, 10)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [1, 4, 25, 3, 10, 7] * 10))
    assert held == [0]
    assert most[0] <= 10


def test_memory_is_released_after_an_error():
    budget = Budget(10)
    for _ in range(3):
        with pytest.raises(KeyError), budget.hold(10):
            raise KeyError
    with budget.hold(10):
        pass


def test_no_memory_is_held_after_images_are_decoded():
    for data in files().values():
        for decode in (PREPROCESSING.decode, whole, sides):
            try:
                decode(data)
            except ValueError:
                continue
    with memory_for(1, 1, memory.MAX_BYTES):
        assert memory._budget._n_free == 0
    assert memory._budget._n_free == memory.MAX_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory from the kernel")
@pytest.mark.parametrize("mode", ["F", "I", "I;16"])
def test_estimate_of_memory_is_an_upper_bound(mode):
    pixels = np.zeros((3000, 3000), {"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode])
    data = encode(Image.fromarray(pixels), "TIFF", compression="tiff_adobe_deflate")
    with decoding._open(data) as image:
        estimate = opening.n_bytes_to_decode(image, 0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak()
    PREPROCESSING.decode(data)
    assert peak() - before <= estimate + 2**25


def peak():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("mode", ["F", "I", "I;16"])
def test_blocks_of_rows_do_not_change_gray_values(mode, monkeypatch):
    rng = np.random.default_rng(0)
    pixels = (rng.random((50, 70)) * 60_000).astype({"F": np.float32, "I": np.int32, "I;16": np.uint16}[mode])
    data = encode(Image.fromarray(pixels), "TIFF")
    whole_image = outcome(data)
    monkeypatch.setattr("skpneumo._images.pixels._BLOCK_PIXELS", 200)
    assert outcome(data) == whole_image
