import gzip
import io
import os
import pickle
import re
import sys
from collections import deque
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from scipy.sparse import csr_array

from conftest import on_tensorflow
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images, as_paths, images_if_any, object_array
from skpneumo._images.sources import absolute_sources, is_url, label_of, name_of, read_bytes

TEXT = ["a.png", "b.png"]

CONTAINERS = {
    "list": TEXT,
    "tuple": tuple(TEXT),
    "Path": [Path(path) for path in TEXT],
    "mixed str and Path": ["a.png", Path("b.png")],
    "str array": np.array(TEXT),
    "object array": np.array(TEXT, dtype=object),
    "column": np.array(TEXT, dtype=object).reshape(-1, 1),
    "str column": np.array(TEXT).reshape(-1, 1),
    "nested list": [[path] for path in TEXT],
    "Series": pd.Series(TEXT),
    "object Series": pd.Series(TEXT, dtype=object),
    "category Series": pd.Series(TEXT, dtype="category"),
    "string Series": pd.Series(TEXT, dtype="string"),
    "shuffled Series": pd.Series(TEXT, index=[7, 3]),
    "DataFrame": pd.DataFrame({"path": TEXT}),
    "category DataFrame": pd.DataFrame({"path": pd.Series(TEXT, dtype="category")}),
    "DataFrame of Path": pd.DataFrame({"path": [Path(path) for path in TEXT]}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_of_paths_give_str(name):
    for paths, expected in [
        (as_paths(CONTAINERS[name]), TEXT),
        (as_images(CONTAINERS[name]), [os.path.abspath(path) for path in TEXT]),
    ]:
        assert paths == expected
        assert all(isinstance(path, str) for path in paths)


@pytest.mark.parametrize("prefix", ["", "file://", "zip://a.png::", "simplecache::file://"])
def test_relative_paths_are_resolved_once(prefix, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    images = absolute_sources([f"{prefix}a.png", f"{prefix}/a.png"])
    monkeypatch.chdir("/")
    assert images == pickle.loads(pickle.dumps(images)) == [f"{prefix}{tmp_path / 'a.png'}", f"{prefix}/a.png"]
    assert [name_of(image) for image in images] == [f"{prefix}a.png", f"{prefix}/a.png"]
    assert [label_of(image) for image in pickle.loads(pickle.dumps(images))] == list(map(name_of, images))


def test_urls_of_other_machines_are_no_relative_paths():
    urls = ["s3://a/b.png", "zip://a.png::s3://b.zip", "memory://a", "file://~/a.png"]
    assert absolute_sources(urls) == urls


def test_path_of_bytes_is_decoded(tmp_path):
    (tmp_path / "a.png").touch()
    (entry,) = os.scandir(os.fsencode(tmp_path))
    assert as_images([entry]) == as_paths([entry]) == [str(tmp_path / "a.png")]


NUMBERS = {
    "array": np.zeros((2, 3)),
    "integers": np.zeros((2, 3), int),
    "list": [[1.0, 2.0], [3.0, 4.0]],
    "object array": np.array([[1, 2.0]], dtype=object),
    "DataFrame": pd.DataFrame({"a": [1.0], "b": [2.0]}),
    "one-column DataFrame": pd.DataFrame({"a": [1.0]}),
    "sparse": csr_array(np.eye(2)),
    "no column": np.empty((3, 0)),
    "rows": [np.zeros(3), np.ones(3)],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_features_are_no_images(name):
    assert as_paths(NUMBERS[name]) is None
    assert as_images(NUMBERS[name]) is None


class Endless:
    def __getitem__(self, i):
        return "a.png"


class Iterator:
    """Endless and with a length, as the iterators of Keras."""

    filepaths, classes = TEXT, [0, 1]

    def __len__(self):
        return 1

    def __getitem__(self, i):
        pytest.fail("read a batch")

    def __iter__(self):
        pytest.fail("read a batch")


class Tensor:
    """Array-like that cannot be converted."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.ndim = pixels, pixels.shape, pixels.ndim

    def __getitem__(self, i):
        return Tensor(self.pixels[i])

    def __array__(self, dtype=None, copy=None):
        raise TypeError("use .cpu() first")


def _closed():
    file = io.BytesIO(b"image")
    file.close()
    return file


INVALID = {
    "single str": ("image.png", r"single str 'image.png'.*pass a list: \['image.png'\]"),
    "single Path": (Path("image.png"), "single .*Path"),
    "single bytes": (b"image", "single bytes"),
    "empty path": (["a.png", ""], r"1 of 2 items are not images: X\[1\] is str ''"),
    "empty list": ([], r"list of shape \(0,\), which is empty"),
    "empty Series": (pd.Series([], dtype=object), "Series .* empty"),
    "empty column": (np.empty((0, 1), object), "empty"),
    "two columns": (pd.DataFrame({"a": TEXT, "b": TEXT}), r"DataFrame of shape \(2, 2\).*only the column"),
    "path and number": (pd.DataFrame({"a": TEXT, "b": [1, 2]}), r"shape \(2, 2\)"),
    "three dimensions": (np.array(TEXT).reshape(1, 2, 1), r"shape \(1, 2, 1\)"),
    "None": (None, "got NoneType"),
    "number": (7, "got int"),
    "generator": ((path for path in TEXT), "got generator"),
    "set": ({"a.png"}, "got set"),
    "dict": ({"a": "a.png"}, "got dict"),
    "endless sequence": (Endless(), "got Endless. Pass a list"),
    "iterator of Keras": (Iterator(), "got Iterator. Pass X.filepaths, with the labels X.classes"),
    "dicts": ([{"image": 1}, {"image": 2}], r"2 of 2 items are not images: X\[0\] is {'image': 1} \(dict\)"),
    "objects": (pd.Series([object(), object()]), "2 of 2 items are not images"),
    "nested lists of pixels": (np.zeros((2, 9, 9), int).tolist(), r"nested lists.* \[np.array\(image, np.uint8\)"),
    "nested lists of different lengths": ([[[1, 2]], [[1], [2]]], "nested lists"),
    "channels first": (np.zeros((2, 3, 9, 9), np.uint8), r"each image is array of shape \(3, 9, 9\).*moveaxis"),
    "list of channels first": ([np.zeros((1, 9, 9), np.uint8)], r"X\[0\] is .*moveaxis\(image, 0, -1\)"),
    "tensor on a GPU": (Tensor(np.zeros((2, 9, 9), np.uint8)), r"Tensor, which cannot be converted .*: use .cpu\(\)"),
    "list of tensors on a GPU": ([Tensor(np.zeros((9, 9)))], r"X\[0\] is Tensor, which .*: use .cpu\(\)"),
    "signed integers": (np.zeros((2, 9, 9), np.int16), r"type int16: gray values must be uint8 .* Convert arrays"),
    "array of bytes": (np.array([b"a", b"b"]), r"type \|S1, in which NumPy drops trailing zero bytes"),
    "single PIL image": (Image.new("L", (9, 9)), r"single PIL.Image.Image. For one image pass a list: \[X\]"),
    "single open file": (io.BytesIO(b"image"), "single _io.BytesIO"),
    "stack of floats": (
        np.zeros((2, 40, 40)),
        r"array of shape \(2, 40, 40\) and type float64: gray values must be uint8",
    ),
    "empty stack": (np.zeros((0, 40, 40), np.uint8), r"shape \(0, 40, 40\) and type uint8, which is empty\.$"),
    "data set of pydicom": (
        ["a.png", pydicom.Dataset()],
        r"X\[1\] is a data set of pydicom: pass the path or the bytes of its file\.$",
    ),
    "list of data sets of pydicom": ([pydicom.dataset.FileDataset("a", {})], r"X\[0\] is a data set of pydicom: "),
    "single data set of pydicom": (pydicom.Dataset(), "got a data set of pydicom: pass the path or the bytes"),
    "single image with colors": (
        np.zeros((64, 48, 3), np.uint8),
        r"shape \(64, 48, 3\) and type uint8, which looks like one image",
    ),
    "text file": ([io.StringIO("image")], r"X\[0\] is _io.StringIO, open in text mode"),
    "floats": (
        [np.zeros((9, 9)), b"x"],
        r"X\[0\] is array of shape \(9, 9\) and type float64, but gray values must be",
    ),
    "five channels": ([np.zeros((9, 9, 5), np.uint8)], r"X\[0\] is array of shape \(9, 9, 5\).*the shape must be"),
    "16 bits with opacity": ([np.zeros((9, 9, 4), np.uint16)], "the shape must be"),
    "no pixels": ([np.zeros((0, 9), np.uint8)], "the shape must be"),
    "closed file": ([_closed()], "which cannot be rewound"),
    "bytes and None": ([b"x" * 10**6, None], r"1 of 2 items are not images: X\[1\] is None"),
    "missing": (["a.png", None, "b.png", float("nan")], r"2 of 4 items.*X\[1\] is None.*X\[3\] is nan \(float\)"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_input_raises_with_what_was_expected(name):
    X, message = INVALID[name]
    with pytest.raises(ValueError, match=message) as caught:
        as_images(X)
    assert "X must hold images" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert images_if_any(X) is None


def test_as_paths_raises_on_images_without_path():
    with pytest.raises(ValueError, match=r"1 of 2 items are not paths: X\[1\] is bytes of length 4"):
        as_paths(["a.png", b"data"])


def _png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


PIXELS = np.random.RandomState(0).randint(0, 256, (50, 40), np.uint8)
PIXELS_16_BIT = PIXELS.astype(np.uint16) * 16
COLORS = np.random.RandomState(1).randint(0, 256, (50, 40, 3), np.uint8)
OPACITY = np.random.RandomState(2).randint(0, 256, (50, 40, 4), np.uint8)

IMAGES = {
    "bytes": (PIXELS, lambda: _png(PIXELS)),
    "bytearray": (PIXELS, lambda: bytearray(_png(PIXELS))),
    "memoryview": (PIXELS, lambda: memoryview(_png(PIXELS))),
    "BytesIO": (PIXELS, lambda: io.BytesIO(_png(PIXELS))),
    "PIL image": (PIXELS, lambda: Image.fromarray(PIXELS)),
    "lazy PIL image": (PIXELS, lambda: Image.open(io.BytesIO(_png(PIXELS)))),
    "PIL image with colors": (COLORS, lambda: Image.fromarray(COLORS)),
    "PIL image with opacity": (OPACITY, lambda: Image.fromarray(OPACITY)),
    "16-bit PIL image": (PIXELS_16_BIT, lambda: Image.fromarray(PIXELS_16_BIT)),
    "gray": (PIXELS, lambda: PIXELS),
    "gray, three axes": (PIXELS, lambda: PIXELS[:, :, None]),
    "strided gray": (PIXELS, lambda: np.repeat(PIXELS, 2, axis=1)[:, ::2]),
    "16-bit gray": (PIXELS_16_BIT, lambda: PIXELS_16_BIT),
    "16-bit gray in other byte order": (PIXELS_16_BIT, lambda: PIXELS_16_BIT.astype(">u2")),
    "colors": (COLORS, lambda: COLORS),
    "colors with opacity": (OPACITY, lambda: OPACITY),
}


@pytest.mark.parametrize("name", IMAGES)
def test_image_in_memory_is_preprocessed_like_a_file(name):
    pixels, make = IMAGES[name]
    (image,) = as_images([make()])
    preprocessing = Preprocessing(32)
    expected = preprocessing.decode(_png(pixels))
    assert expected.std() > 20
    for _ in range(3):
        np.testing.assert_array_equal(preprocessing.decode(read_bytes(image)), expected)


def test_16_bit_colors_are_scaled_to_8_bit_gray():
    pixels = COLORS.astype(np.uint16) * 257
    (image,) = as_images([pixels])
    expected = Preprocessing(32).decode(_png(COLORS)).astype(int)
    assert np.abs(Preprocessing(32).decode(read_bytes(image)) - expected).max() <= 1


def test_pil_image_becomes_upright_like_its_file():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(file, "PNG", exif=exif)
    (image,) = as_images([Image.open(file)])
    np.testing.assert_array_equal(
        Preprocessing(32).decode(read_bytes(image)), Preprocessing(32).decode(file.getvalue())
    )


PAIR = [_png(PIXELS), _png(255 - PIXELS)]
CONTAINERS_OF_IMAGES = {
    "list": list,
    "tuple": tuple,
    "object array": object_array,
    "object column": lambda items: object_array(items).reshape(-1, 1),
    "Series": lambda items: pd.Series(list(items), index=[5, 3]),
    "DataFrame": lambda items: pd.DataFrame({"image": list(items)}),
}
ITEMS = {
    "bytes": lambda: PAIR,
    "files": lambda: [io.BytesIO(data) for data in PAIR],
    "PIL images": lambda: [Image.open(io.BytesIO(data)) for data in PAIR],
    "arrays": lambda: [PIXELS, 255 - PIXELS],
    "records": lambda: [{"path": "a.png", "bytes": data} for data in PAIR],
    "arrays of different sizes": lambda: [PIXELS, 255 - PIXELS[:, :, None]],
    "a mixture": lambda: [PAIR[0], 255 - PIXELS],
}


@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize("container", CONTAINERS_OF_IMAGES)
def test_containers_of_images_of_every_kind(container, items):
    images = as_images(CONTAINERS_OF_IMAGES[container](ITEMS[items]()))
    preprocessed = [Preprocessing(32).decode(read_bytes(image)) for image in images]
    np.testing.assert_array_equal(preprocessed, [Preprocessing(32).decode(data) for data in PAIR])


@pytest.mark.parametrize("shape", [(2, 50, 40), (2, 50, 40, 1), (2, 50, 40, 3)])
def test_array_of_images_of_equal_size(shape):
    images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    each = [read_bytes(image) for image in as_images(images)]
    assert each == [read_bytes(image) for image in as_images(list(images))]
    assert len(set(each)) == 2


def test_pixels_are_read_from_hdf5_only_when_needed():
    pixels = np.random.RandomState(0).randint(0, 256, (4, 50, 40), np.uint8)
    with h5py.File(io.BytesIO(), "w") as file:
        images = as_images(file.create_dataset("pixels", data=pixels))
        for stored, expected in zip(images, as_images(pixels), strict=True):
            assert read_bytes(stored) == read_bytes(expected)
    with pytest.raises(ValueError, match="cannot be read"):
        read_bytes(images[0])


@on_tensorflow
@pytest.mark.parametrize("convert", [lambda tensor: tensor, list], ids=["tensor", "list of tensors"])
def test_tensors_are_converted(convert):
    import tensorflow as tf

    pixels = np.random.RandomState(0).randint(0, 256, (4, 50, 40), np.uint8)
    images = as_images(convert(tf.constant(pixels)))
    assert list(map(read_bytes, images)) == list(map(read_bytes, as_images(pixels)))
    assert as_images(tf.constant(pixels.reshape(4, -1) / 255)) is None


@on_tensorflow
def test_data_sets_of_tensorflow_raise_with_what_to_pass(tmp_path):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(TEXT).repeat()
    with pytest.raises(ValueError, match=r"got .*Dataset. Pass the paths of its images; .* dataset.file_paths"):
        as_images(dataset)
    dataset.file_paths = TEXT  # as from image_dataset_from_directory
    with pytest.raises(ValueError, match=r"Pass X.file_paths\."):
        as_images(dataset)


def test_sequence_of_another_type_is_read_up_to_its_length():
    assert as_images(deque(TEXT)) == as_images(TEXT)


def test_record_without_bytes_is_a_path():
    assert as_images([{"path": "a.png", "bytes": None}, {"path": "b.png"}]) == as_images(TEXT)
    (image,) = as_images(pd.Series([{"bytes": PAIR[0], "path": "person7_virus_1.png"}]))
    assert name_of(image) == "person7_virus_1.png"


@pytest.mark.parametrize("path", [b"/a/b.png", "für/b.JPEG".encode(), b"s3://a/b.dcm"])
def test_bytes_of_a_path_raise_with_what_to_pass(path):
    with pytest.raises(ValueError, match=r"bytes of a path, not of an image: .* os.fsdecode\(path\)"):
        read_bytes(as_images([path])[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("container", [np.asarray, list, pd.DataFrame, csr_array])
def test_matrix_of_pixels_is_not_used_as_features(container, dtype):
    X = container(np.ones((3, 100), dtype))
    with pytest.raises(ValueError, match=r"shape \(3, 100\) and type uint.*, the type of pixels.* X.astype\(float\)"):
        as_images(X)
    assert as_images(container(np.ones((3, 100), int))) is None


def test_error_for_other_ranges_states_a_conversion():
    image = np.linspace(-1000, 500, 400).reshape(20, 20)
    with pytest.raises(ValueError, match="Convert arrays of other types with ") as caught:
        as_images([image])
    formula = re.search(r"with (np\.\S.*?astype\(np\.uint8\))", str(caught.value))[1]
    converted = eval(formula, {"np": np, "image": image, "black": -1000, "white": 500})
    assert (converted.min(), converted.max(), len(as_images([converted]))) == (0, 255, 1)


def test_open_file_is_read_from_its_beginning_and_keeps_its_position():
    file = io.BytesIO(PAIR[0])
    file.seek(7)
    (image,) = as_images([file])
    assert read_bytes(image) == PAIR[0]
    assert file.tell() == 7


class Stream(io.RawIOBase):
    def read(self, size=-1):
        return PAIR[0]


class Spooled:
    """File that can be rewound but has no `seekable` method, like temporary files of Python 3.10."""

    def __init__(self, data):
        file = io.BytesIO(data)
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def test_stream_that_cannot_be_rewound_raises():
    with pytest.raises(ValueError, match=r"X\[1\] is .*Stream, which cannot be rewound .*: pass its bytes"):
        as_images([PAIR[0], Stream()])


def test_file_without_seekable_method_is_read():
    file = Spooled(PAIR[0])
    assert [read_bytes(as_images([file])[0]) for _ in range(2)] == [PAIR[0]] * 2


def test_unreadable_open_file_raises_with_its_position():
    broken = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(PAIR[0])[:50]))
    with pytest.raises(ValueError, match=r"X\[1\] is gzip.GzipFile, which cannot be read: "):
        as_images([PAIR[0], broken])


@pytest.mark.parametrize("image", [Image.new("L", (0, 5)), Image.new("L", (0, 0))])
def test_pil_image_without_pixels_raises(image):
    with pytest.raises(ValueError, match="has no pixels"):
        read_bytes(as_images([image])[0])


def test_file_with_the_bytes_of_packed_pixels_raises():
    (image,) = as_images([PIXELS])
    with pytest.raises(ValueError, match="not an image"):
        Preprocessing(32).decode(bytes(read_bytes(image)))


@pytest.mark.parametrize("X", ["x" * 10**6, ["x" * 10**6, None], [Path("y"), ["z"] * 10**5, b"x"]])
def test_errors_are_short_for_long_items(X):
    with pytest.raises(ValueError, match="X must hold images") as caught:
        as_images(X)
    assert len(str(caught.value)) < 2000


def test_errors_list_ten_items_and_count_the_others():
    nested = [[0] * 1000] * 1000
    for item in (None, nested, object(), {"a": 1}, np.zeros((9, 9))):
        with pytest.raises(ValueError, match=r"20000 of 20001 items are not") as caught:
            as_images(["a.png", *[item] * 20000])
        assert len(str(caught.value)) < 10_000
    for check in (as_images, as_paths):
        with pytest.raises(ValueError, match=r"15 of 16 items are not .*X\[10\] is None.* and 5 more\.$") as caught:
            check(["a.png", *[None] * 15])
        assert str(caught.value).count(" is None") == 10


def test_labels_of_urls_hold_no_secrets():
    (image,) = as_images(["https://user:password@host/a.png?signature=secret"])
    assert label_of(image) == name_of(image) == "https://host/a.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://a/b.png", True), ("zip://a.png::s3://b.zip", True), ("simplecache::https://a", True)]
    + [(text, False) for text in ("study::7.png", "C:/images/a.png", r"C:\images\a.png", "a.png")],
)
def test_is_url(text, expected):
    assert is_url(text) == expected


def test_images_keep_file_names(tmp_path):
    path = tmp_path / "person7_virus_1.png"
    path.write_bytes(PAIR[0])
    with open(path, "rb") as file, Image.open(path) as image:
        assert [name_of(each) for each in as_images([file, image, str(path), PAIR[0]])] == [str(path)] * 3 + [None]


def test_url_is_read_through_fsspec():
    import fsspec

    fsspec.filesystem("memory").pipe("/images/a.png", PAIR[0])
    (image,) = as_images(["memory://images/a.png"])
    assert read_bytes(image) == read_bytes(as_paths(["memory://images/a.png"])[0]) == PAIR[0]


@pytest.mark.parametrize(
    ("url", "reason"),
    [("memory://images/none.png", "no such file"), ("nothing://images/a.png", "cannot be fetched: .*nothing")],
)
def test_unreadable_url_raises_with_reason(url, reason):
    (image,) = as_images([url])
    with pytest.raises(ValueError, match=reason):
        read_bytes(image)


def test_url_without_fsspec_raises_with_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=r"a URL, which needs fsspec: pip install 'skpneumo\[fsspec\]'"):
        read_bytes("s3://images/a.png")


def test_validated_images_are_returned_unchanged(paths):
    images = as_images(paths)
    assert as_images(images) is images
