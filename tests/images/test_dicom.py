"""DICOM files as images."""

import io
import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_files import dataset, dicom, encode, lut
from skpneumo._images.decoding import Preprocessing, look, sides, whole

SIDE = 32
RAMP = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def ramp(stored=12, signed=False):
    """Return pixels that cover the range of a number of bits."""
    low = -(2 ** (stored - 1)) if signed else 0
    pixels = np.rint(np.linspace(low, low + 2**stored - 1, SIDE * SIDE)).reshape(SIDE, SIDE)
    return pixels.astype(f"{'i' if signed else 'u'}{1 if stored <= 8 else 2}")


def gray(data):
    return np.asarray(whole(data)[1])


def reason(data):
    with pytest.raises(ValueError, match=r".") as caught:
        Preprocessing(SIDE).decode(data)
    assert type(caught.value) is ValueError
    message = str(caught.value)
    assert 0 < len(message) < 250
    assert "\n" not in message
    return message


def bundled(name):
    path = get_testdata_file(name, download=False)
    with open(path, "rb") as file:
        return file.read()


def reference(ds):
    """Compute gray values by pydicom's functions for a data set with a window or a lookup table."""
    values = apply_modality_lut(ds.pixel_array, ds)
    if "VOILUTSequence" in ds:  # pydicom would warn of rescaled values, which are floats
        low, high = 0, 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
        values = apply_voi_lut(np.rint(values).astype(int), ds)
    else:
        low, high = (-(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1)
        if not ds.PixelRepresentation:
            low, high = 0, 2**ds.BitsStored - 1
        if "ModalityLUTSequence" in ds:
            low, high = 0, 2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
        low, high = (each * ds.get("RescaleSlope", 1) + ds.get("RescaleIntercept", 0) for each in (low, high))
        values = apply_voi_lut(values, ds)
    grays = np.rint((values.astype(float) - low) * (255 / (high - low)))
    return 255 - grays if ds.PhotometricInterpretation == "MONOCHROME1" else grays


# Gray values


WINDOWS = {
    "linear": {"WindowCenter": 2000.0, "WindowWidth": 1500.0},
    "first of two": {"WindowCenter": [300.0, 1.0], "WindowWidth": [900.0, 1.0]},
    "exact": {"WindowCenter": 500.5, "WindowWidth": 2000.0, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 100.0, "WindowWidth": 800.0, "VOILUTFunction": "SIGMOID"},
    "narrow": {"WindowCenter": 100.0, "WindowWidth": 1.0},
    "lookup table": {"VOILUTSequence": lut(np.arange(4096)[::-1] // 4, 0, 10)},
    "both": {"VOILUTSequence": lut(np.arange(256) ** 2, 20, 16), "WindowCenter": 1.0, "WindowWidth": 2.0},
}
MODALITIES = {
    "none": {},
    "rescale": {"RescaleSlope": 1.5, "RescaleIntercept": -200.0},
    "falling": {"RescaleSlope": -1.0, "RescaleIntercept": 4095.0},
    "table": {"ModalityLUTSequence": lut(np.arange(4096) * 16, 0, 16, ModalityLUTType="US")},
}


def check_equal(stored, signed, **elements):
    ds = dataset(ramp(stored, signed), stored, **elements)
    found, expected = gray(encode(ds)), reference(ds)
    np.testing.assert_allclose(found, expected, atol=1)
    assert np.mean(found != expected) < 0.02  # halves may be rounded either way


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("window", WINDOWS)
def test_gray_values_equal_those_of_pydicom(window, modality, signed):
    check_equal(12, signed, **WINDOWS[window], **MODALITIES[modality])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("stored", range(8, 17))
def test_gray_values_of_all_bits_equal_those_of_pydicom(stored, signed, photometric):
    center = 0 if signed else 2 ** (stored - 1)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        window = {"WindowCenter": center, "WindowWidth": 2 ** (stored - 1), "VOILUTFunction": function}
        check_equal(stored, signed, PhotometricInterpretation=photometric, **window)
    check_equal(stored, signed, PhotometricInterpretation=photometric, VOILUTSequence=lut(range(2**stored), 0, 16))


@pytest.mark.parametrize(("stored", "brightest", "white"), [(8, 200, 255), (12, 1023, 1023), (16, 1024, 4095)])
def test_without_window_white_is_as_in_16_bit_images(stored, brightest, white):
    pixels = np.full((SIDE, SIDE), brightest, "u1" if stored == 8 else "u2")
    pixels[:4] = 0
    np.testing.assert_array_equal(gray(dicom(pixels, stored)), np.rint(pixels * (255 / white)))


def test_8_bit_png_16_bit_png_and_dicom_give_equal_pixels():
    levels = (RAMP % 256).astype("u1")
    levels[0, 0] = 255
    files = [io.BytesIO(), io.BytesIO()]
    Image.fromarray(levels).save(files[0], "PNG")
    Image.fromarray(levels.astype("u2") * 257).save(files[1], "PNG")
    twelve_bits = np.rint(levels * (4095 / 255)).astype("u2")
    copies = [
        *(file.getvalue() for file in files),
        dicom(levels),
        dicom(levels.astype("u2") * 257),
        dicom(twelve_bits, 12),
        dicom(twelve_bits, 16),
        dicom(twelve_bits.astype("i2"), 16),
        dicom(4095 - twelve_bits, 12, PhotometricInterpretation="MONOCHROME1"),
        dicom(4095 - twelve_bits, 12, RescaleSlope=-1, RescaleIntercept=4095),
        dicom(twelve_bits, 12, RescaleSlope=0.001, RescaleIntercept=3),
        dicom(levels, WindowCenter=128, WindowWidth=256),
    ]
    for copy in copies:
        np.testing.assert_array_equal(gray(copy), levels)


def test_window_of_a_wide_table_of_8_bits():
    # pydicom 3 wraps the positions in such a table.
    pixels = ramp(12)
    data = dicom(pixels, 12, VOILUTSequence=lut(np.arange(4096) // 16, 0, 8))
    np.testing.assert_array_equal(gray(data), pixels // 16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_presentation_shape_and_photometric_interpretation_invert_once(photometric):
    plain = gray(dicom(ramp(), 12))
    inverse = gray(dicom(ramp(), 12, PhotometricInterpretation=photometric, PresentationLUTShape="INVERSE"))
    np.testing.assert_array_equal(inverse, 255 - plain)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, WINDOWS["linear"]], ids=["no window", "window"])
@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_padding_is_black_and_does_not_count_as_brightest(dtype, window, photometric):
    pixels = (RAMP % 1000).astype(dtype)
    elements = {**window, "PhotometricInterpretation": photometric}
    expected = gray(dicom(pixels, 14, **elements))
    pixels[:3], pixels[3] = 8000, 7000
    padded = dicom(pixels, 14, PixelPaddingValue=8000, PixelPaddingRangeLimit=7000, **elements)
    np.testing.assert_array_equal(gray(padded)[4:], expected[4:])
    np.testing.assert_array_equal(gray(padded)[:4], 0)


def test_bits_above_the_stored_ones_are_ignored():
    overlay = ramp(12) | 0xF000
    np.testing.assert_array_equal(gray(dicom(overlay, 12)), gray(dicom(ramp(12), 12)))


@pytest.mark.parametrize(
    ("elements", "size"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (32, 64)),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (64, 32)),
        ({"PixelAspectRatio": ["3", "2"]}, (32, 48)),
        ({"PixelSpacing": [0.1, 0.1], "PixelAspectRatio": ["3", "2"]}, (32, 32)),
        ({"PixelSpacing": [0.1, 0.1001]}, (32, 32)),
    ],
)
def test_pixels_become_square(elements, size):
    data = dicom(ramp(), 12, **elements)
    assert whole(data)[1].size == sides(data) == size


# Transfer syntaxes


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.keyword)
def test_uncompressed_files(syntax, dtype):
    pixels = (RAMP % 251 - (100 if dtype == "i2" else 0)).astype(dtype)
    expected = gray(dicom(pixels))
    np.testing.assert_array_equal(gray(dicom(pixels, syntax=syntax)), expected)


@pytest.mark.parametrize("stored", [8, 12, 16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_compressed_files(syntax, stored):
    ds = dataset(ramp(stored), stored)
    expected = gray(encode(ds))
    ds.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(gray(encode(ds)), expected)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm"]
)
def test_bundled_compressed_files_equal_the_uncompressed_one(name):
    np.testing.assert_array_equal(gray(bundled(name)), gray(bundled("MR_small.dcm")))


@pytest.mark.parametrize(
    "name",
    ["JPGExtended.dcm", "JPEG2000.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "JPEGLSNearLossless_16.dcm"],
)
def test_bundled_lossy_files(name):
    data = bundled(name)
    assert gray(data).std() > 1
    assert whole(data)[1].size == sides(data)


@pytest.mark.parametrize("quality", [50, 100])
def test_jpeg_baseline(quality):
    file = io.BytesIO()
    Image.fromarray((RAMP // 4).astype("u1")).save(file, "JPEG", quality=quality)
    data = compressed(file.getvalue(), JPEGBaseline8Bit)
    assert np.abs(gray(data).astype(int) - np.asarray(Image.open(file), int)).max() <= 2


@pytest.mark.parametrize(
    "syntax",
    [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless, HTJ2KLossless],
    ids=lambda uid: uid.keyword,
)
def test_extra_contains_a_decoder(syntax):
    assert get_decoder(syntax).is_available


def test_compressed_data_in_several_fragments():
    ds = dataset(ramp(12), 12)
    expected = gray(encode(ds))
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    (frame,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = pydicom.encaps.encapsulate([frame], fragments_per_frame=3)
    np.testing.assert_array_equal(gray(encode(ds)), expected)


# Files that are not a gray image


def without(name, **elements):
    ds = dataset(ramp(12), 12, **elements)
    delattr(ds, name)
    return encode(ds)


def compressed(frame, syntax):
    ds = dataset(np.zeros((SIDE, SIDE), "u1"))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    return encode(ds)


def changed(**elements):
    return dicom(ramp(12), 12, **elements)


COLORS = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Columns": 8}
OTHERS = {
    "frames": (changed(NumberOfFrames=2, Rows=16), "a DICOM file of 2 frames; save the one"),
    "rgb": (changed(PhotometricInterpretation="RGB", **COLORS), "a DICOM file in colors (RGB)"),
    "ybr": (changed(PhotometricInterpretation="YBR_FULL", **COLORS), "a DICOM file in colors (YBR_FULL)"),
    "palette": (changed(PhotometricInterpretation="PALETTE COLOR"), "a DICOM file in colors (PALETTE COLOR)"),
    "pdf": (
        without("PixelData", SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1"),
        "a DICOM object without an image: Encapsulated PDF Storage",
    ),
    "no pixels": (
        without("PixelData"),
        "a damaged DICOM file: it has no pixel data, though it is of the class Digital",
    ),
    "truncated in the header": (
        changed().partition(b"\x28\0\x02\0US")[0],
        "a damaged DICOM file: it has no pixel data, though it is of the class Digital X-Ray Image Storage",
    ),
    "no samples": (without("SamplesPerPixel"), "a damaged DICOM file: the element (0028,0002) is missing"),
    "no photometric": (without("PhotometricInterpretation"), "a damaged DICOM file: the element (0028,0004), Photo"),
    "report": (bundled("test-SR.dcm"), "a DICOM object without an image: Comprehensive SR Storage"),
    "plan": (bundled("rtplan.dcm"), "a DICOM object without an image: RT Plan Storage"),
    "waveform": (bundled("waveform_ecg.dcm"), "a DICOM object without an image: 12-lead ECG Waveform Storage"),
    "directory": (bundled("DICOMDIR"), "a DICOMDIR, which lists files: pass it to skpneumo.datasets.load_dicom"),
    "no header": (bundled("no_meta.dcm"), "not an image"),
    "data set": (bundled("rtstruct.dcm"), "possibly a DICOM data set without file meta information"),
    "no syntax": (bundled("meta_missing_tsyntax.dcm"), "a damaged DICOM file: it has no transfer syntax"),
    "video": (
        compressed(bytes(99), MPEG2MPML),
        "a DICOM file with the transfer syntax MPEG2 Main Profile / Main Level, which is not",
    ),
    "32 bits": (bundled("rtdose_1frame.dcm"), "a DICOM file with 32 of 32 bits"),
    "high bits": (changed(HighBit=15), "a DICOM file with 12 of 16 bits up to bit 15"),
    "float": (without("PixelData", FloatPixelData=bytes(4096)), "a DICOM file of floating-point pixels"),
    "no rows": (changed(Rows=0), "has no pixels: 32 x 0"),
    "many pixels": (changed(Rows=60000, Columns=60000), "too large: 60000 x 60000 pixels"),
    "flat pixels": (changed(PixelSpacing=[1, 200]), "a DICOM file whose pixels are 1 high and 200 wide"),
    "long pixels": (changed(Columns=30000, Rows=2000, PixelSpacing=[1, 9]), "too large: 270000 x 2000 pixels"),
    "truncated": (changed(Rows=33), "a damaged DICOM file: its pixel data has 2048 of 2112 bytes"),
    "window": (changed(WindowCenter=1, WindowWidth=0), "a damaged DICOM file: its window has the width 0"),
    "function": (changed(WindowCenter=1, WindowWidth=1, VOILUTFunction="CUBIC"), "a DICOM file with the unknown VOI"),
    "slope": (changed(RescaleSlope=0, RescaleIntercept=1), "a damaged DICOM file: its rescale slope is 0"),
    "infinite": (
        changed(RescaleSlope="1e308", RescaleIntercept=0, **WINDOWS["linear"]),
        "a damaged DICOM file: its rescale",
    ),
    "table": (changed(VOILUTSequence=lut([], 0, 12)), "a damaged DICOM file: a lookup table is incomplete"),
    "bundled": (bundled("MR_truncated.dcm"), "a damaged DICOM file: its pixel data has 8130 of 8192 bytes"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_raise_with_the_reason(kind):
    data, expected = OTHERS[kind]
    assert reason(data).startswith(expected)


def test_size_in_compressed_data_is_checked_before_decoding():
    ds = dataset(ramp(12), 12)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    place = ds.PixelData.index(b"\xff\x4f\xff\x51") + 8
    ds.PixelData = ds.PixelData[:place] + b"\0\0\xff\xff\0\0\xff\xff" + ds.PixelData[place + 8 :]
    assert reason(encode(ds)) == "a damaged DICOM file: its pixel data is not a gray image of 32 x 32"


def test_preamble_of_another_format_is_ignored():
    data = dicom(ramp(12), 12)
    for preamble in (b"II*\0", b"MM\0*", b"BM"):
        np.testing.assert_array_equal(gray(preamble + data[len(preamble) :]), gray(data))
        assert look(preamble + data[len(preamble) :]) is None


def test_file_without_preamble_is_read_from_its_meta_information():
    data = dicom(ramp(12), 12)
    np.testing.assert_array_equal(gray(data[132:]), gray(data))
    assert look(data[132:]) is None


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_damaged_files_give_an_image_or_raise_value_error(syntax):
    elements = {"VOILUTSequence": lut(range(4096), 0, 12), "PatientName": "Doe^Jane", "PixelSpacing": [0.2, 0.1]}
    if syntax in NATIVE:
        data = dicom(ramp(12), 12, syntax, **elements)
    else:
        ds = dataset(ramp(12), 12, **elements)
        ds.compress(syntax, generate_instance_uid=False)
        data = encode(ds)
    random = np.random.RandomState(0)
    broken = [data[:length] for length in random.randint(133, len(data), 60)]
    header = data.index(b"PN\x08\0") + 1500 if syntax == ExplicitVRLittleEndian else 1200
    for _ in range(200):
        each = bytearray(data)
        for place in random.randint(132, header if random.rand() < 0.7 else len(data), random.randint(1, 4)):
            each[place % len(data)] = random.randint(256)
        broken.append(bytes(each))
    reasons = [0]
    for each in broken:
        try:
            assert Preprocessing(SIDE).decode(each).shape == (SIDE, SIDE)
        except ValueError as error:
            reasons.append(str(error))
    assert len(reasons) > 20
    assert all(map(str, reasons))
    assert "Jane" not in str(reasons)


def test_damaged_runs_give_an_image_or_raise_value_error(capfd):
    data = bundled("MR_small_RLE.dcm")
    start = data.rindex(b"\xe0\x7f\x10\x00") + 12
    reasons = []
    for place in range(start, start + 400):
        try:
            Preprocessing(SIDE).decode(data[:place] + b"\x7f" + data[place + 1 :])
        except ValueError as error:
            reasons.append(str(error))
    assert reasons
    assert not capfd.readouterr().err


# Side effects


def test_without_pydicom_the_reason_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    expected = "a DICOM file, which needs pydicom: pip install 'skpneumo[dicom]'"
    data = dicom(ramp(12), 12)
    assert reason(data) == expected
    with pytest.raises(ValueError, match="needs pydicom"):
        look(data)


@pytest.mark.parametrize(
    ("name", "syntax", "package"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "JPEG-LS Lossless Image Compression", "pylibjpeg-libjpeg"),
        ("JPEG2000.dcm", "JPEG 2000 Image Compression", "pylibjpeg-openjpeg"),
    ],
)
def test_without_a_decoder_the_reason_names_syntax_and_package(name, syntax, package, monkeypatch):
    data = bundled(name)
    decoder = get_decoder(pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(
        decoder, "_unavailable", {"gdcm": ("gdcm>=3.0.10",), "pylibjpeg": ("pylibjpeg>=2.0", f"{package}>=2.1")}
    )
    message = reason(data)
    assert syntax in message
    assert message.endswith(f"which needs pylibjpeg and {package}: pip install 'skpneumo[dicom]'")


def odd():
    """Return files with values of which pydicom warns."""
    private = {"PatientName": "Doe^Jane", "PatientID": "4711" * 20, "PatientBirthDate": "yesterday"}
    charset = dicom(ramp(12), 12, **private, SpecificCharacterSet="ISO_IR 192").replace(b"ISO_IR 192", b"ISO-IR 999")
    return [
        charset,
        dicom(ramp(12), 12, **private, WindowCenter="12345678.1234567890", WindowWidth="1"),
        dicom(ramp(12), 12, NumberOfFrames="0"),
        dicom(np.concatenate([ramp(12)] * 3), 12, Rows=32),
        *(data for data, _ in OTHERS.values()),
    ]


@pytest.mark.filterwarnings("error")
def test_nothing_is_warned_logged_or_changed(caplog):
    def settings():
        config = {name: value for name, value in vars(pydicom.config).items() if not name.startswith("__")}
        return str(config), str(vars(pydicom.config.settings)), list(warnings.filters), warnings.showwarning

    files = odd()
    caplog.clear()
    before = settings()
    with caplog.at_level(logging.INFO):
        outcomes = [outcome(data) for data in files]
    assert [type(each) for each in outcomes[:4]] == [bytes] * 4
    assert "Jane" not in str(outcomes[4:])
    assert not caplog.records
    assert settings() == before


def outcome(data):
    try:
        return Preprocessing(SIDE).decode(data).tobytes()
    except ValueError as error:
        return str(error)


def test_threads_give_equal_results():
    files = [*odd(), bundled("JPEG2000.dcm"), bundled("MR_small_jpeg_ls_lossless.dcm"), bundled("JPGExtended.dcm")] * 4
    expected = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files)) == expected
