"""Files of `save_model`: other programs read them too, and no damage passes unnoticed."""

import errno
import io
import os
import pickle
import socket
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from conftest import TINY
from skpneumo import TRUSTED_TYPES, PneumoniaClassifier, VGG19Features, _trailer, load_model, save_model
from skpneumo._trailer import START_OF_PICKLE, check_trailer, trailer
from skpneumo.exceptions import ModelFileError

MODELS = {
    "bare": PneumoniaClassifier(),
    "pipeline": make_pipeline(StandardScaler(), PneumoniaClassifier()),
    "tuned": TunedThresholdClassifierCV(PneumoniaClassifier(), cv=2),
    "calibrated": CalibratedClassifierCV(PneumoniaClassifier(), cv=2),
    "search": GridSearchCV(PneumoniaClassifier(), {"alpha": [0.1, 1.0]}, cv=2),
}
# Name and level of compression of a file of each format.
FORMATS = {"joblib": ("model.joblib", 0), "gzip": ("model.joblib", 3), "skops": ("model.skops", 0)}


@pytest.fixture(name="X", scope="module")
def rows_of_numbers():
    return np.random.RandomState(0).rand(40, 4)


@pytest.fixture(scope="module")
def fitted(X):
    return {name: model.fit(X, np.arange(40) % 2) for name, model in MODELS.items()}


@pytest.fixture
def probe(fitted):
    return fitted["bare"]


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


def save(model, folder, form):
    name, compress = FORMATS[form]
    save_model(model, folder / name, compress=compress)
    return folder / name


def is_refused(file, content):
    """Whether `load_model` raises an error that states the path and the damage of a file with this content."""
    file.write_bytes(content)
    try:
        load_model(file)
    except ModelFileError as error:
        return str(file) in str(error) and "damaged" in str(error)
    return False


def flipped(data, bit):
    content = bytearray(data)
    content[bit // 8] ^= 1 << bit % 8
    return content


# Reading


@pytest.mark.parametrize("name", MODELS)
def test_load_model_reads_files_of_save_model(name, fitted, form, X, tmp_path):
    model = fitted[name]
    copy = load_model(save(model, tmp_path, form))
    assert type(copy) is type(model)
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize("form", ["joblib", "gzip"])
def test_joblib_reads_files_of_save_model(form, fitted, X, tmp_path):
    model = fitted["pipeline"]
    copy = joblib.load(save(model, tmp_path, form))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


def test_joblib_maps_the_arrays_of_files_of_save_model(probe, X, tmp_path):
    copy = joblib.load(save(probe, tmp_path, "joblib"), mmap_mode="r")
    assert isinstance(copy.coefs_[0], np.memmap)
    np.testing.assert_array_equal(copy.predict_proba(X), probe.predict_proba(X))


@pytest.mark.parametrize("compress", [0, 3])
def test_skops_reads_files_of_save_model(compress, probe, X, tmp_path):
    save_model(probe, tmp_path / "model.SKOPS", compress=compress)
    copy = skops.io.load(tmp_path / "model.SKOPS", trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(copy.predict_proba(X), probe.predict_proba(X))


@pytest.mark.parametrize("name", ["model.joblib", "model.skops"])
def test_compressed_files_are_smaller(name, fitted, tmp_path):
    sizes = []
    for compress in (0, 1, np.int64(9)):
        save_model(fitted["search"], tmp_path / name, compress=compress)
        sizes.append((tmp_path / name).stat().st_size)
    assert sizes[0] > sizes[1] >= sizes[2]


def test_equal_models_have_equal_files(probe, tmp_path, form):
    if form != "skops":  # zip archives contain the time
        assert save(probe, tmp_path, form).read_bytes() == save(probe, tmp_path, form).read_bytes()


def test_trailer_is_stable_across_versions():
    digest = b"9a75ca7d3c5ea71051d9391eb26b8625ef6ea77a10d90d5d60ba761d3b16bcf2"
    data = b'body\n{"format": 1, "versions": {"skpneumo": "0.1"}}\n' + digest + b"\nskpneumo model file\n"
    assert check_trailer(data, is_expected=True) == {"skpneumo": "0.1"}


# Damage


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["joblib", "skops"])
def test_flipped_bits_raise(name, form, fitted, tmp_path, random):
    file = save(fitted[name], tmp_path, form)
    data = file.read_bytes()
    for bit in random.randint(8 * len(data), size=100):
        assert is_refused(file, flipped(data, bit))


@pytest.mark.parametrize("form", ["joblib", "skops"])
def test_flipped_bits_in_the_marks_raise(form, probe, tmp_path, random):
    file = save(probe, tmp_path, form)
    data = file.read_bytes()
    first = range(len(START_OF_PICKLE))
    last = range(len(data) - len(trailer(b"")) - 22, len(data))  # with the end record of a zip archive
    for position in [*first, *last]:
        assert is_refused(file, flipped(data, 8 * position + random.randint(8)))


@pytest.mark.parametrize("name", MODELS)
def test_flipped_bits_in_gzip_files_raise_or_change_nothing(name, fitted, X, tmp_path, random):
    """The time in the header and the last bits of a block have no effect on the decompressed data."""
    model = fitted[name]
    file = save(model, tmp_path, "gzip")
    data, n_unchanged = file.read_bytes(), 0
    for bit in [*range(8 * 10), *random.randint(80, 8 * len(data), size=100)]:
        if not is_refused(file, flipped(data, bit)):
            np.testing.assert_array_equal(load_model(file).predict_proba(X), model.predict_proba(X))
            n_unchanged += 1
    assert n_unchanged < 60


def test_truncated_files_raise(probe, form, tmp_path):
    file = save(probe, tmp_path, form)
    data = file.read_bytes()
    end = len(data) - len(trailer(b""))
    for length in [*range(1, end, 97), *range(end, len(data))]:
        assert is_refused(file, data[:length])


DAMAGE = {
    "zeros at the start": lambda data: bytes(512) + data[512:],
    "zeros at the end": lambda data: data[:-512] + bytes(512),
    "zeros instead of the trailer": lambda data: data[: -len(trailer(b""))] + bytes(len(trailer(b""))),
    "a missing byte": lambda data: data[:10] + data[11:],
    "an additional byte": lambda data: data[:100] + b"\0" + data[100:],
    "a byte after the end": lambda data: data + b"\n",
    "other line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "two exchanged blocks": lambda data: data[:64] + data[128:192] + data[64:128] + data[192:],
    "no name in the trailer": lambda data: data.replace(b"\nskpneumo model file", b"\nskpneumo model_file"),
    "no name at the start": lambda data: data.replace(b"\x13skpneumo model file0", b"\x13skpneumo model_file0"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("form", ["joblib", "skops"])
def test_other_damage_raises(damage, form, probe, tmp_path):
    file = save(probe, tmp_path, form)
    data = file.read_bytes()
    if (content := DAMAGE[damage](data)) != data:
        assert is_refused(file, content)


def test_damaged_type_of_an_array_raises(probe, tmp_path):
    """NumPy itself ends the process if it unpickles this type."""
    file = save(probe, tmp_path, "joblib")
    data = file.read_bytes()
    assert data.count(b"\x02i8") == 1
    assert is_refused(file, data.replace(b"\x02i8", b"\x02m8"))


class Trap:
    """Object that creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_damaged_files_are_not_unpickled(tmp_path):
    body, folder = START_OF_PICKLE + pickle.dumps(Trap(str(tmp_path / "made"))), tmp_path / "made"
    content = body + trailer(body)
    assert is_refused(tmp_path / "model", content.replace(b"format", b"farmat"))
    assert not folder.exists()
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ModelFileError, match="an object of type NoneType"):
        load_model(tmp_path / "model")
    assert folder.exists()


def test_skops_archive_with_another_comment_raises(probe, tmp_path):
    skops.io.dump(probe, tmp_path / "model.skops")
    with zipfile.ZipFile(tmp_path / "model.skops", "a") as archive:
        archive.comment = b"a comment"
    assert is_refused(tmp_path / "model.skops", (tmp_path / "model.skops").read_bytes())


# Files that are intact, but cannot be loaded


def test_later_format_raises(probe, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_trailer, "FORMAT", 99)
        save_model(probe, tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"written by skpneumo .* in format 99.*install skpneumo .* or later"):
        load_model(tmp_path / "model")


def test_intact_file_of_other_versions_raises_with_the_versions(probe, tmp_path, monkeypatch):
    data = START_OF_PICKLE + pickle.dumps(probe).replace(b"PneumoniaClassifier", b"PneumoniaPredicator")
    with monkeypatch.context() as patch:
        patch.setattr("skpneumo._model_state.versions", lambda: {"skpneumo": "7.5", "python": "4.0", "x": "1"})
        (tmp_path / "model").write_bytes(data + trailer(data))
    with pytest.raises(ModelFileError, match=r"is intact.*saved with skpneumo 7\.5 \(here: .*, x 1 \(here: not inst"):
        load_model(tmp_path / "model")


# Writing


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (PneumoniaClassifier(), "a PneumoniaClassifier that is not fitted: save it after fit"),
        (LogisticRegression().fit([[0], [1]], [0, 1]), "an object of type LogisticRegression"),
        ({"model": PneumoniaClassifier()}, "a model inside an object of type dict"),
        (make_pipeline(VGG19Features(**TINY)).fit(["a.png"]), "a Pipeline without it"),
        (None, "an object of type NoneType"),
    ],
)
def test_save_model_raises_if_load_model_could_not_load_the_model(model, problem, tmp_path):
    with pytest.raises(ValueError, match=f"expected a fitted estimator of skpneumo .*, but got {problem}"):
        save_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compress", [-1, 10, 0.5, True, "gzip", ("zlib", 3)])
def test_save_model_raises_on_invalid_compress(compress, probe, tmp_path):
    with pytest.raises(ValueError, match="compress"):
        save_model(probe, tmp_path / "model", compress=compress)


@pytest.mark.parametrize("path", [None, 3, b"model.joblib", io.BytesIO()])
def test_save_model_raises_if_path_is_not_a_path(path, probe):
    with pytest.raises(TypeError, match=f"path must be a str or a path, but got {type(path).__name__}"):
        save_model(probe, path)


def test_failed_save_leaves_the_earlier_file(form, fitted, X, tmp_path, monkeypatch):
    file = save(fitted["bare"], tmp_path, form)
    before = file.read_bytes()

    def disk_full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save(fitted["pipeline"], tmp_path, form)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == before


def test_model_that_cannot_be_pickled_leaves_the_earlier_file(probe, X, tmp_path):
    model = make_pipeline(FunctionTransformer(lambda X: X), PneumoniaClassifier()).fit(X, np.arange(40) % 2)
    file = save(probe, tmp_path, "joblib")
    with pytest.raises(pickle.PicklingError):
        save_model(model, file)
    np.testing.assert_array_equal(load_model(file).predict_proba(X), probe.predict_proba(X))


# Paths that are no regular files


@pytest.fixture
def special(tmp_path, monkeypatch):
    paths = {"a folder": tmp_path / "folder", "a pipe": tmp_path / "pipe", "a socket": tmp_path / "socket"}
    paths["a folder"].mkdir()
    os.mkfifo(paths["a pipe"])
    monkeypatch.chdir(tmp_path)  # since the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket")
        yield paths | {"a device": "/dev/zero"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files")
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a socket", "a device"])
def test_load_model_raises_if_the_path_is_not_a_regular_file(kind, special):
    with pytest.raises(ModelFileError, match=f"expected a regular file, got {kind}"):
        load_model(special[kind])


def test_load_model_reads_only_the_start_of_a_file_of_another_kind(tmp_path):
    with open(tmp_path / "model", "wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(ModelFileError, match="of another kind, or damaged"):
        load_model(tmp_path / "model")
