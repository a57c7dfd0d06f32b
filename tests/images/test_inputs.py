import gzip
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.sparse import csr_array

from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images, as_paths, images_if_any, object_array, patients_by_name
from skpneumo._images.sources import is_url, label_of, name_of, read_bytes

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
@pytest.mark.parametrize("read", [as_paths, as_images])
def test_every_container_of_paths_gives_them_as_str(name, read):
    paths = read(CONTAINERS[name])
    assert paths == TEXT
    assert all(type(path) is str for path in paths)


NUMBERS = {
    "array": np.zeros((2, 3)),
    "integers": np.zeros((2, 3), int),
    "list": [[1.0, 2.0], [3.0, 4.0]],
    "object array": np.array([[1, 2.0]], dtype=object),
    "DataFrame": pd.DataFrame({"a": [1.0], "b": [2.0]}),
    "one-column DataFrame": pd.DataFrame({"a": [1.0]}),
    "sparse": csr_array(np.eye(2)),
    "no column": np.empty((3, 0)),
    "bytes of features": np.zeros((2, 3), np.uint8),
    "rows": [np.zeros(3), np.ones(3)],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_no_paths(name):
    assert as_paths(NUMBERS[name]) is None
    assert as_images(NUMBERS[name]) is None


def _closed():
    file = io.BytesIO(b"film")
    file.close()
    return file


WRONG = {
    "bare str": ("film.png", r"bare str 'film.png'.*pass a list: \['film.png'\]"),
    "bare Path": (Path("film.png"), "bare .*Path"),
    "bare bytes": (b"film", "bare bytes"),
    "empty list": ([], r"list of shape \(0,\), which is empty"),
    "empty Series": (pd.Series([], dtype=object), "Series .* empty"),
    "empty column": (np.empty((0, 1), object), "empty"),
    "two columns": (pd.DataFrame({"a": TEXT, "b": TEXT}), r"DataFrame of shape \(2, 2\).*the column"),
    "path and number": (pd.DataFrame({"a": TEXT, "b": [1, 2]}), r"shape \(2, 2\)"),
    "three dimensions": (np.array(TEXT).reshape(1, 2, 1), r"shape \(1, 2, 1\)"),
    "None": (None, "got NoneType"),
    "number": (7, "got int"),
    "generator": ((path for path in TEXT), "got generator"),
    "set": ({"a.png"}, "got set"),
    "dict": ({"a": "a.png"}, "got dict"),
    "array of bytes": (np.array([b"a", b"b"]), r"type \|S1, in which NumPy cuts off zeros"),
    "bare PIL image": (Image.new("L", (9, 9)), r"bare PIL.Image.Image. For one image pass a list: \[X\]"),
    "bare open file": (io.BytesIO(b"film"), "bare _io.BytesIO"),
    "stack of floats": (np.zeros((2, 40, 40)), r"array of shape \(2, 40, 40\) and type float64: gray values are uint8"),
    "empty stack": (np.zeros((0, 40, 40), np.uint8), "gray values are"),
    "one gray image in colour": (np.zeros((64, 48, 3), np.uint8), r"shape \(64, 48, 3\), which looks like one image"),
    "text file": ([io.StringIO("film")], r"X\[0\] is _io.StringIO, open as text"),
    "floats": ([np.zeros((9, 9)), b"x"], r"X\[0\] is array of shape \(9, 9\) and type float64, but gray values are"),
    "five colours": ([np.zeros((9, 9, 5), np.uint8)], r"X\[0\] is array of shape \(9, 9, 5\).*have the shape"),
    "deep with opacity": ([np.zeros((9, 9, 4), np.uint16)], "have the shape"),
    "no pixels": ([np.zeros((0, 9), np.uint8)], "have the shape"),
    "closed file": ([_closed()], "which cannot be rewound"),
    "bytes and None": ([b"x" * 10**6, None], r"1 of its 2 items are none: X\[1\] is None"),
    "missing": (["a.png", None, "b.png", float("nan")], r"2 of its 4 items.*X\[1\] is None.*X\[3\] is nan \(float\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_named_with_what_was_expected(name):
    X, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as caught:
        as_images(X)
    assert "X must hold images" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert images_if_any(X) is None


def test_where_paths_are_needed_images_without_one_are_named():
    with pytest.raises(ValueError, match=r"1 of 2 items are none: X\[1\] is bytes of length 4"):
        as_paths(["a.png", b"film"])


def _png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


PIXELS = np.random.RandomState(0).randint(0, 256, (50, 40), np.uint8)
DEEP = PIXELS.astype(np.uint16) * 16
COLOURS = np.random.RandomState(1).randint(0, 256, (50, 40, 3), np.uint8)
OPACITY = np.random.RandomState(2).randint(0, 256, (50, 40, 4), np.uint8)

IMAGES = {
    "bytes": (PIXELS, lambda: _png(PIXELS)),
    "bytearray": (PIXELS, lambda: bytearray(_png(PIXELS))),
    "memoryview": (PIXELS, lambda: memoryview(_png(PIXELS))),
    "BytesIO": (PIXELS, lambda: io.BytesIO(_png(PIXELS))),
    "PIL image": (PIXELS, lambda: Image.fromarray(PIXELS)),
    "lazy PIL image": (PIXELS, lambda: Image.open(io.BytesIO(_png(PIXELS)))),
    "PIL image in colour": (COLOURS, lambda: Image.fromarray(COLOURS)),
    "PIL image with opacity": (OPACITY, lambda: Image.fromarray(OPACITY)),
    "deep PIL image": (DEEP, lambda: Image.fromarray(DEEP)),
    "gray": (PIXELS, lambda: PIXELS),
    "gray, three axes": (PIXELS, lambda: PIXELS[:, :, None]),
    "strided gray": (PIXELS, lambda: np.repeat(PIXELS, 2, axis=1)[:, ::2]),
    "deep gray": (DEEP, lambda: DEEP),
    "deep gray of another byte order": (DEEP, lambda: DEEP.astype(">u2")),
    "colours": (COLOURS, lambda: COLOURS),
    "colours with opacity": (OPACITY, lambda: OPACITY),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_in_memory_becomes_the_square_of_a_file_of_its_pixels(name):
    pixels, make = IMAGES[name]
    (image,) = as_images([make()])
    square = Preprocessing(32)
    expected = square.decode(_png(pixels))
    assert expected.std() > 20
    for _ in range(3):
        np.testing.assert_array_equal(square.decode(read_bytes(image)), expected)


def test_deep_colours_are_the_gray_of_their_depth():
    deep = COLOURS.astype(np.uint16) * 257
    (image,) = as_images([deep])
    shallow = Preprocessing(32).decode(_png(COLOURS)).astype(int)
    assert np.abs(Preprocessing(32).decode(read_bytes(image)) - shallow).max() <= 1


def test_a_pil_image_is_turned_upright_as_its_file_is():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(file, "PNG", exif=exif)
    (image,) = as_images([Image.open(file)])
    np.testing.assert_array_equal(
        Preprocessing(32).decode(read_bytes(image)), Preprocessing(32).decode(file.getvalue())
    )


PAIR = [_png(PIXELS), _png(255 - PIXELS)]
HOLDERS = {
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
    "arrays of different sizes": lambda: [PIXELS, 255 - PIXELS[:, :, None]],
    "a mixture": lambda: [PAIR[0], 255 - PIXELS],
}


@pytest.mark.parametrize("items", ITEMS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_every_container_holds_images_of_every_kind(holder, items):
    images = as_images(HOLDERS[holder](ITEMS[items]()))
    squares = [Preprocessing(32).decode(read_bytes(image)) for image in images]
    np.testing.assert_array_equal(squares, [Preprocessing(32).decode(data) for data in PAIR])


@pytest.mark.parametrize("shape", [(2, 50, 40), (2, 50, 40, 1), (2, 50, 40, 3)])
def test_an_array_of_images_of_equal_size_is_one_image_after_the_other(shape):
    images = np.random.RandomState(0).randint(0, 256, shape, np.uint8)
    each = [read_bytes(image) for image in as_images(images)]
    assert each == [read_bytes(image) for image in as_images(list(images))]
    assert len(set(each)) == 2


def test_an_open_file_is_read_from_its_beginning_and_left_where_it_was():
    file = io.BytesIO(PAIR[0])
    file.seek(7)
    (image,) = as_images([file])
    assert read_bytes(image) == PAIR[0]
    assert file.tell() == 7


class Stream(io.RawIOBase):
    def read(self, size=-1):
        return PAIR[0]


class Spooled:
    """As of Python 3.10's temporary files: it can be rewound, and does not say so."""

    def __init__(self, data):
        file = io.BytesIO(data)
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def test_a_stream_that_cannot_be_rewound_is_refused_since_it_would_be_empty_the_next_time():
    with pytest.raises(ValueError, match=r"X\[1\] is .*Stream, which cannot be rewound .*: pass what its"):
        as_images([PAIR[0], Stream()])


def test_a_file_that_can_be_rewound_need_not_say_so():
    file = Spooled(PAIR[0])
    assert [read_bytes(as_images([file])[0]) for _ in range(2)] == [PAIR[0]] * 2


def test_what_goes_wrong_in_reading_an_open_file_is_said_of_that_file():
    broken = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(PAIR[0])[:50]))
    with pytest.raises(ValueError, match=r"X\[1\] is gzip.GzipFile, which cannot be read: "):
        as_images([PAIR[0], broken])


@pytest.mark.parametrize("image", [Image.new("L", (0, 5)), Image.new("L", (0, 0))])
def test_a_pil_image_without_pixels_is_refused(image):
    with pytest.raises(ValueError, match="has no pixels"):
        read_bytes(as_images([image])[0])


def test_no_file_passes_for_pixels_in_memory():
    (image,) = as_images([PIXELS])
    with pytest.raises(ValueError, match="not an image"):
        Preprocessing(32).decode(bytes(read_bytes(image)))


@pytest.mark.parametrize("X", ["x" * 10**6, ["x" * 10**6, None], [Path("y"), ["z"] * 10**5, b"x"]])
def test_errors_stay_short_however_long_an_item_is(X):
    with pytest.raises(ValueError, match="X must hold images") as caught:
        as_images(X)
    assert len(str(caught.value)) < 2000


def test_images_without_a_name_that_tells_have_a_patient_each():
    files = [io.BytesIO(data) for data in PAIR]
    for file in files:
        file.name = "image.png"
    assert list(patients_by_name(as_images([*files, PAIR[0]]))) == ["X[0]", "X[1]", "X[2]"]


def test_what_gives_access_to_a_url_is_not_in_errors():
    (image,) = as_images(["https://user:password@host/a.png?signature=secret"])
    assert label_of(image) == name_of(image) == "https://host/a.png"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://a/b.png", True), ("zip://a.png::s3://b.zip", True), ("simplecache::https://a", True)]
    + [(text, False) for text in ("study::7.png", "C:/films/a.png", r"C:\films\a.png", "a.png")],
)
def test_urls_are_told_from_names_of_files(text, expected):
    assert is_url(text) == expected


def test_images_keep_the_names_of_their_files(tmp_path):
    path = tmp_path / "person7_virus_1.png"
    path.write_bytes(PAIR[0])
    with open(path, "rb") as file, Image.open(path) as image:
        assert [name_of(each) for each in as_images([file, image, str(path), PAIR[0]])] == [str(path)] * 3 + [None]


def test_a_url_is_read_through_fsspec():
    import fsspec

    fsspec.filesystem("memory").pipe("/films/a.png", PAIR[0])
    (image,) = as_images(["memory://films/a.png"])
    assert read_bytes(image) == read_bytes(as_paths(["memory://films/a.png"])[0]) == PAIR[0]


@pytest.mark.parametrize(
    ("url", "reason"),
    [("memory://films/none.png", "no such file"), ("nothing://films/a.png", "cannot be fetched: .*nothing")],
)
def test_what_stands_in_the_way_of_a_url_is_said(url, reason):
    (image,) = as_images([url])
    with pytest.raises(ValueError, match=reason):
        read_bytes(image)


def test_without_fsspec_a_url_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=r"a URL, which needs fsspec: pip install 'skpneumo\[fsspec\]'"):
        read_bytes("s3://films/a.png")


def test_what_was_parsed_is_returned_as_it_is(paths):
    images = as_images(paths)
    assert as_images(images) is images
