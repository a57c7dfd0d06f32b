"""Fetching the published collections, here small ones from a local server."""

import dataclasses
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from datasets.conftest import JPEG, KAGGLE, relative, touch
from datasets.http_server import Reply
from skpneumo.datasets import _kermany, _pneumoniamnist, fetch_chest_xrays, fetch_pneumoniamnist
from skpneumo.datasets._download import brief

MENDELEY = [name.replace("val/", "train/") for name in KAGGLE]
JUNK = ["__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg", "__MACOSX/chest_xray/train/NORMAL/IM-0115-0001.jpeg"]
JUNK += ["chest_xray/.DS_Store", "chest_xray/train/NORMAL/.DS_Store", "chest_xray/train/NORMAL/._IM-0115-0001.jpeg"]


def archive(*names, prefix="chest_xray/"):
    """Zip images; the content of each is its name after the first bytes of a JPEG file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name in names:
            zipped.writestr(name if name in JUNK else f"{prefix}{name}", JPEG + name.split("/")[-1].encode())
    return file.getvalue()


def counted(names):
    folders = [name.rpartition("/")[0] for name in names]
    return {folder: folders.count(folder) for folder in folders}


PUBLISHED = archive(*MENDELEY, *JUNK)
KAGGLE_ARCHIVE = archive(*KAGGLE, *JUNK, *(f"chest_xray/{name}" for name in KAGGLE))


def arrays(size=28):
    """Make the arrays of a small PneumoniaMNIST: 3, 2 and 2 images."""
    rng = np.random.RandomState(size)
    labels = {"train": [0, 1, 1], "val": [1, 0], "test": [0, 1]}
    contents = {f"{split}_labels": np.array(label, np.uint8)[:, None] for split, label in labels.items()}
    return contents | {
        f"{split}_images": rng.randint(0, 256, (len(label), size, size), np.uint8) for split, label in labels.items()
    }


def npz(size=28):
    file = io.BytesIO()
    np.savez(file, **arrays(size))
    return file.getvalue()


@pytest.fixture
def kermany(server, monkeypatch):
    """Replace the published archive by a small one, and return its server."""
    server.replies = [Reply(PUBLISHED)]
    server.checksum = f"sha256:{hashlib.sha256(PUBLISHED).hexdigest()}"
    remote = dataclasses.replace(_kermany.COLLECTION.remote, url=server.url, checksum=server.checksum)
    small = dataclasses.replace(_kermany.COLLECTION, remote=remote, counts=(counted(MENDELEY), counted(KAGGLE)))
    monkeypatch.setattr(_kermany, "COLLECTION", small)
    return server


@pytest.fixture(params=[28, 64])
def mnist(server, monkeypatch, request):
    """Replace the published arrays by small ones, and return their size."""
    size = request.param
    content = npz(size)
    server.replies = [Reply(content)]
    published = _pneumoniamnist.COLLECTIONS[size]
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    remote = dataclasses.replace(published.remote, url=server.url, checksum=checksum)
    counts = {"train/NORMAL": 1, "train/PNEUMONIA": 2}
    counts |= {f"{split}/{folder}": 1 for split in ("val", "test") for folder in ("NORMAL", "PNEUMONIA")}
    small = dataclasses.replace(published, remote=remote, counts=(counts,))
    monkeypatch.setitem(_pneumoniamnist.COLLECTIONS, size, small)
    return size


def put(home, name, content):
    path = home / "chest_xrays" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def unpacked(home):
    return home / "chest_xrays" / "chest_xray"


# The chest X-rays of Kermany et al.


def test_chest_xrays_are_downloaded_unpacked_and_loaded(kermany, tmp_path):
    bunch = fetch_chest_xrays(data_home=tmp_path, subset="all", shuffle=False)
    assert relative(bunch, unpacked(tmp_path)) == sorted(MENDELEY)
    contents = [Path(path).read_bytes().removeprefix(JPEG).decode() for path in bunch.data[:, 0]]
    assert contents == [name.split("/")[-1] for name in sorted(MENDELEY)]
    assert bunch.target.tolist() == ["PNEUMONIA" in name for name in sorted(MENDELEY)]
    assert "person1_bacteria" in bunch.groups
    assert "10.17632/rscbjbr9sj" in bunch.DESCR
    assert "CC BY 4.0" in bunch.DESCR
    assert "not checked" not in bunch.DESCR
    assert {path.name for path in unpacked(tmp_path).parent.iterdir()} == {".lock", "chest_xray"}


def test_second_call_downloads_nothing(kermany, tmp_path):
    first = fetch_chest_xrays(data_home=tmp_path)
    second = fetch_chest_xrays(data_home=tmp_path, download_if_missing=False)
    np.testing.assert_array_equal(first.data, second.data)
    assert len(kermany.paths) == 1


@pytest.mark.parametrize(("subset", "n_images"), [("train", 8), ("test", 2), ("all", 10)])
def test_subsets_of_chest_xrays(kermany, tmp_path, subset, n_images):
    assert fetch_chest_xrays(data_home=tmp_path, subset=subset).data.shape == (n_images, 1)


def test_options_are_those_of_load_chest_xrays(kermany, tmp_path):
    X, y = fetch_chest_xrays(data_home=tmp_path, target="etiology", random_state=3, return_X_y=True, as_frame=True)
    assert list(X.columns) == ["path"]
    assert sorted(set(y)) == [0, 1, 2]
    other, _ = fetch_chest_xrays(data_home=tmp_path, random_state=4, return_X_y=True)
    assert X["path"].tolist() != other[:, 0].tolist()
    assert sorted(X["path"]) == sorted(other[:, 0])


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"subset": "val"}, "'subset' .* must be a str among {'train', 'test', 'all'}. Got 'val'"),
        ({"target": "sex"}, "'target' parameter of fetch_chest_xrays must be"),
        ({"n_retries": -1}, "n_retries"),
        ({"delay": -1}, "delay"),
    ],
)
def test_bad_option_raises_before_the_download(kermany, tmp_path, option, match):
    with pytest.raises(ValueError, match=match):
        fetch_chest_xrays(data_home=tmp_path, **option)
    assert not kermany.paths


def test_data_home_is_that_of_scikit_learn(kermany, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    assert fetch_chest_xrays().data[0, 0].startswith(str(tmp_path / "home" / "chest_xrays"))


# Provided by hand


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ChestXRay2017.zip", PUBLISHED),
        ("archive.zip", KAGGLE_ARCHIVE),
        ("chest-xray-pneumonia.zip", KAGGLE_ARCHIVE),
    ],
)
def test_archive_provided_by_hand_is_unpacked_and_kept(kermany, tmp_path, name, content):
    path = put(tmp_path, name, content)
    bunch = fetch_chest_xrays(data_home=tmp_path, subset="all", shuffle=False, download_if_missing=False)
    assert relative(bunch, unpacked(tmp_path)) == sorted(MENDELEY)
    assert path.exists()
    assert not kermany.paths


@pytest.mark.parametrize("content", [PUBLISHED, KAGGLE_ARCHIVE], ids=["Mendeley", "Kaggle"])
def test_folder_provided_by_hand_is_used_as_it_is(kermany, tmp_path, content):
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        zipped.extractall(tmp_path / "chest_xrays")
    for _ in range(2):
        bunch = fetch_chest_xrays(data_home=tmp_path, download_if_missing=False)
        assert len(bunch.data) == 8
    assert not kermany.paths


def test_digests_are_in_the_format_of_sha256sum(kermany, tmp_path):
    fetch_chest_xrays(data_home=tmp_path)
    for line in (unpacked(tmp_path) / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((unpacked(tmp_path) / name).read_bytes()).hexdigest() == digest


def test_archive_with_another_digest_raises_with_both(kermany, tmp_path):
    put(tmp_path, "ChestXRay2017.zip", PUBLISHED[:-10])
    with pytest.raises(OSError, match="is not the published file") as error:
        fetch_chest_xrays(data_home=tmp_path)
    for content in (PUBLISHED, PUBLISHED[:-10]):
        assert hashlib.sha256(content).hexdigest() in str(error.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (KAGGLE_ARCHIVE[:-100], "is damaged"),
        (KAGGLE_ARCHIVE.replace(b"IM-0115-0001.jpegPK", b"IM-0115-0002.jpegPK", 1), "is damaged: Bad CRC-32"),
        (archive(), "expected 1 in test/NORMAL.* found none"),
        (archive(*KAGGLE[1:]), "found 1 in test/NORMAL, 1 in test/PNEUMONIA, 3 in train/NORMAL, 4 in train/PNEUMONIA"),
        (archive(*KAGGLE, "train/NORMAL/IM-1.jpeg"), "5 in train/NORMAL"),
    ],
    ids=["truncated", "bad CRC", "empty", "one missing", "one more"],
)
def test_damaged_archive_raises_and_leaves_nothing(kermany, tmp_path, content, match):
    put(tmp_path, "archive.zip", content)
    with pytest.raises(OSError, match=match):
        fetch_chest_xrays(data_home=tmp_path)
    assert {path.name for path in unpacked(tmp_path).parent.iterdir()} == {".lock", "archive.zip"}


def test_two_contents_of_one_image_raise(kermany, tmp_path):
    file = io.BytesIO(KAGGLE_ARCHIVE)
    with zipfile.ZipFile(file, "a") as zipped:
        zipped.writestr("other/train/NORMAL/IM-0115-0001.jpeg", "another image")
    put(tmp_path, "archive.zip", file.getvalue())
    with pytest.raises(OSError, match=r"two images 'train/NORMAL/IM-0115-0001.jpeg'"):
        fetch_chest_xrays(data_home=tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../../../evil/train/NORMAL/IM-9.jpeg",
        "/evil/train/NORMAL/IM-9.jpeg",
        "chest_xray/train/NORMAL/../../../../IM-9.jpeg",
        "chest_xray/train/NORMAL/..\\..\\IM-9.jpeg",
        "chest_xray/train/NORMAL/C:IM-9.jpeg",
        "chest_xray/../train/../train/NORMAL/.jpeg",
    ],
)
def test_no_member_of_an_archive_is_written_outside_its_folder(kermany, tmp_path, name):
    home = tmp_path / "a" / "b" / "home"
    home.mkdir(parents=True)
    file = io.BytesIO(KAGGLE_ARCHIVE)
    with zipfile.ZipFile(file, "a") as zipped:
        zipped.writestr(name, "evil")
    put(home, "archive.zip", file.getvalue())
    with suppress(OSError):  # some of these names are counted as images of the collection, and others are skipped
        fetch_chest_xrays(data_home=home)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(home / "chest_xrays") for path in files)
    assert not list(tmp_path.rglob("*IM-9*"))
    assert not Path("/evil").exists()


def test_folder_of_another_collection_raises_with_counts(kermany, tmp_path):
    touch(unpacked(tmp_path), *MENDELEY[1:])
    with pytest.raises(OSError, match=r"expected 1 in test/NORMAL.* 4 in train/NORMAL.*found .*3 in train/NORMAL"):
        fetch_chest_xrays(data_home=tmp_path)


def test_folder_without_patients_in_its_file_names_raises(kermany, tmp_path):
    names = (f"{name.rpartition('/')[0]}/BACTERIA-{i}-0001.jpeg" for i, name in enumerate(MENDELEY))
    touch(unpacked(tmp_path), *names)
    with pytest.raises(OSError, match="do not contain the patients"):
        fetch_chest_xrays(data_home=tmp_path)


def test_remains_of_a_killed_process_are_removed(kermany, tmp_path):
    put(tmp_path, "archive.zip", KAGGLE_ARCHIVE)
    remains = tmp_path / "chest_xrays" / ".unpacking" / "train" / "NORMAL"
    remains.mkdir(parents=True)
    (remains / "IM-0.jpeg").touch()
    assert len(fetch_chest_xrays(data_home=tmp_path).data) == 8
    assert not remains.exists()


# Changed after unpacking


def test_changed_images_raise_with_their_names(kermany, tmp_path):
    fetch_chest_xrays(data_home=tmp_path)
    folder = unpacked(tmp_path) / "train" / "NORMAL"
    (folder / "IM-0115-0001.jpeg").write_bytes(JPEG + b"im-0115-0001.jpeg")  # of the same size
    (folder / "IM-0115-0002.jpeg").unlink()
    touch(folder, "mine.jpeg")
    with pytest.raises(OSError, match="have changed since they were unpacked") as error:
        fetch_chest_xrays(data_home=tmp_path)
    for problem in ("changed: train/NORMAL/IM-0115-0001", "missing: train/NORMAL/IM-0115-0002"):
        assert problem in str(error.value)
    assert "unexpected: train/NORMAL/mine.jpeg" in str(error.value)
    shutil.rmtree(unpacked(tmp_path))
    assert len(fetch_chest_xrays(data_home=tmp_path).data) == 8


# Not available


def by_hand(error, server, tmp_path):
    """Check that an error tells how to provide the data by hand."""
    expected = [server.url, hashlib.sha256(PUBLISHED).hexdigest(), str(tmp_path / "chest_xrays")]
    expected += ["'ChestXRay2017.zip'", "'archive.zip'", "'chest_xray'"]
    return all(text in str(error.value) for text in expected)


def test_missing_data_raises_without_download(kermany, tmp_path):
    with pytest.raises(OSError, match="Data not found and `download_if_missing` is False") as error:
        fetch_chest_xrays(data_home=tmp_path, download_if_missing=False)
    assert by_hand(error, kermany, tmp_path)
    assert not kermany.paths


@pytest.mark.parametrize("reply", [Reply(b"", status=404), Reply(b"other")], ids=["404", "wrong content"])
def test_failed_download_raises_and_names_the_way_by_hand(kermany, tmp_path, reply):
    kermany.replies = [reply]
    with pytest.raises(OSError, match="Cannot download") as error:
        fetch_chest_xrays(data_home=tmp_path, delay=0)
    assert by_hand(error, kermany, tmp_path)
    assert not unpacked(tmp_path).exists()


def test_failed_connection_raises_with_a_brief_cause(kermany):
    with pytest.raises(requests.ConnectionError) as error:
        requests.get("http://127.0.0.1:1/a.zip", timeout=9)
    message = brief(error.value)
    assert "refused" in message
    assert "HTTP" not in message
    assert "Retr" not in message
    assert len(message) < 100
    assert brief(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"


@pytest.mark.parametrize("names", [[], ["other/notes.txt"]])
def test_folder_without_images_by_hand_raises_and_names_the_way_by_hand(kermany, tmp_path, names):
    unpacked(tmp_path).mkdir(parents=True)
    touch(unpacked(tmp_path), *names)
    with pytest.raises(OSError, match=r"Expected .* Found: .* Remove '") as error:
        fetch_chest_xrays(data_home=tmp_path)
    assert by_hand(error, kermany, tmp_path)


def test_data_home_that_is_a_file_raises(kermany, tmp_path):
    touch(tmp_path, "home")
    for home in (tmp_path / "home", tmp_path / "home/inner"):
        with pytest.raises(NotADirectoryError, match=r"data_home must be a folder, but '.*home.*' is a file\."):
            fetch_chest_xrays(data_home=home)


def test_missing_pooch_raises_and_names_the_way_by_hand(kermany, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install \"skpneumo\[fetch\]\"") as error:
        fetch_chest_xrays(data_home=tmp_path)
    assert by_hand(error, kermany, tmp_path)
    put(tmp_path, "ChestXRay2017.zip", PUBLISHED)
    assert len(fetch_chest_xrays(data_home=tmp_path).data) == 8


# Several at a time


def test_threads_share_one_download(kermany, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        bunches = list(pool.map(lambda _: fetch_chest_xrays(data_home=tmp_path), range(4)))
    assert len(kermany.paths) == 1
    for bunch in bunches:
        np.testing.assert_array_equal(bunch.data, bunches[0].data)


def test_processes_share_one_download(kermany, tmp_path):
    """Another process downloads half of the file, and is stopped there until this process waits for it."""
    code = f"""
import dataclasses
from skpneumo.datasets import _kermany
remote = dataclasses.replace(_kermany.COLLECTION.remote, url={kermany.url!r}, checksum={kermany.checksum!r})
counts = {_kermany.COLLECTION.counts!r}
_kermany.COLLECTION = dataclasses.replace(_kermany.COLLECTION, remote=remote, counts=counts)
print(len(_kermany.fetch_chest_xrays(data_home={str(tmp_path)!r}, delay=0).data))
"""
    half = len(PUBLISHED) // 2
    kermany.replies = [Reply(PUBLISHED, stall=half), Reply(PUBLISHED)]
    other = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE)
    with other, ThreadPoolExecutor(1) as pool:
        assert kermany.stalled.wait(60)
        waiting = pool.submit(fetch_chest_xrays, data_home=tmp_path)
        kermany.released.set()
        assert len(waiting.result().data) == 8
        assert other.communicate()[0].strip() == b"8"
    assert len(kermany.paths) == 2


# PneumoniaMNIST


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("subset", "n_images"), [("train", 3), ("val", 2), ("test", 2), ("all", 7)])
def test_pneumoniamnist_has_the_published_sets(mnist, tmp_path, subset, n_images):
    bunch = fetch_pneumoniamnist(size=mnist, data_home=tmp_path, subset=subset)
    assert bunch.data.shape == (n_images, 1)
    assert sorted(set(bunch.target)) == [0, 1]
    assert len(set(bunch.groups)) == n_images


def test_pneumoniamnist_files_have_the_published_pixels_and_stable_names(mnist, tmp_path):
    bunch = fetch_pneumoniamnist(size=mnist, data_home=tmp_path, subset="val", shuffle=False)
    names = [Path(path).name for path in bunch.groups]
    assert names == ["pneumoniamnist-val-0001.png", "pneumoniamnist-val-0000.png"]
    assert bunch.target.tolist() == [0, 1]
    published = arrays(mnist)["val_images"]
    np.testing.assert_array_equal([pixels(path) for path in bunch.data[:, 0]], published[::-1])


def test_pneumoniamnist_is_described_and_cited(mnist, tmp_path):
    bunch = fetch_pneumoniamnist(size=mnist, data_home=tmp_path)
    for text in ("CC BY 4.0", "10.1038/s41597-022-01721-8", "Kermany", "The patients are unknown"):
        assert text in bunch.DESCR
    assert bunch.target_names == ["normal", "pneumonia"]
    assert bunch.frame is None


def test_pneumoniamnist_is_downloaded_once(mnist, server, tmp_path):
    for _ in range(2):
        X, y = fetch_pneumoniamnist(size=mnist, data_home=tmp_path, return_X_y=True)
    assert len(X) == len(y) == 3
    assert len(server.paths) == 1
    assert {path.name for path in (tmp_path / "pneumoniamnist").iterdir()} == {".lock", f"{mnist}px"}


def test_pneumoniamnist_can_be_provided_by_hand(mnist, server, tmp_path):
    name = _pneumoniamnist.COLLECTIONS[mnist].remote.name
    (tmp_path / "pneumoniamnist").mkdir()
    (tmp_path / "pneumoniamnist" / name).write_bytes(npz(mnist))
    assert len(fetch_pneumoniamnist(size=mnist, data_home=tmp_path, download_if_missing=False).data) == 3
    assert not server.paths


def test_unknown_size_raises(tmp_path):
    with pytest.raises(ValueError, match=r"'size' .* among {28, 64, 128, 224}. Got 32"):
        fetch_pneumoniamnist(size=32, data_home=tmp_path)


@pytest.mark.parametrize(
    ("size", "url"),
    [
        (28, "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1"),
        (224, "https://zenodo.org/records/10519652/files/pneumoniamnist_224.npz?download=1"),
    ],
)
def test_pneumoniamnist_is_downloaded_from_zenodo(tmp_path, size, url):
    with pytest.raises(OSError, match="download_if_missing") as error:
        fetch_pneumoniamnist(size=size, data_home=tmp_path, download_if_missing=False)
    assert url in str(error.value)
