import os
import socket

import numpy as np
import pytest

from skpneumo import VGG19Features
from skpneumo._images import sources
from skpneumo._images.dicom import check_path
from skpneumo._images.dicom_patients import identifiers
from skpneumo._images.sources import fetch, read_bytes
from skpneumo._utils.files import NOT_REGULAR, open_file, read_at_most
from skpneumo.datasets import audit_xrays, load_dicom, load_xray_table
from skpneumo.exceptions import ImageReadError, WeightsError

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")


@pytest.fixture(params=["pipe", "device", "socket", "link to pipe"])
def special(request, tmp_path, monkeypatch):
    """Return a function that makes a file which is no regular one, and which has a given name."""

    def make(name):
        path = tmp_path / name
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "link to pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to(tmp_path / "pipe")
        elif request.param == "device":
            path.symlink_to("/dev/zero")
        else:
            monkeypatch.chdir(tmp_path)  # paths of sockets are short
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(name)
        return str(path)

    return make


def test_special_file_is_not_opened(special):
    with pytest.raises(OSError, match=NOT_REGULAR):
        open_file(special("a"))


def test_special_file_is_no_image(special):
    path = special("a.png")
    for read in (read_bytes, fetch, lambda path: fetch(f"file://{path}"), lambda path: fetch(f"simplecache::{path}")):
        with pytest.raises(ValueError, match=NOT_REGULAR):
            read(path)
    assert check_path(path) == NOT_REGULAR
    assert identifiers(path) is None
    with pytest.raises(ImageReadError, match=NOT_REGULAR):
        VGG19Features(weights=None, n_layers=2, image_size=32).fit_transform([path])


def test_audit_lists_special_file_as_unreadable(special, paths, y):
    path = special("a.png")
    audit = audit_xrays([*paths, path], [*y, y[0]])
    assert NOT_REGULAR in audit.to_string()


def test_special_file_is_no_table_and_no_dicomdir(special, tmp_path):
    with pytest.raises(OSError, match=NOT_REGULAR):
        load_xray_table(special("a.csv"), root=tmp_path)
    with pytest.raises(OSError, match=NOT_REGULAR):
        load_dicom(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.keras"])
def test_special_file_holds_no_weights(special, name):
    with pytest.raises(WeightsError, match=NOT_REGULAR):
        VGG19Features(weights=special(name), n_layers=2).fit_transform(np.zeros((2, 40, 32), np.uint8))


def test_file_that_grows_is_read_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    with open_file(path) as file:
        path.write_bytes(bytes(1000))
        assert len(read_at_most(file, 500)) == 501


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_file_of_unknown_size_is_read(monkeypatch):
    with open_file("/proc/self/status") as file:
        assert read_at_most(file, 10**6).startswith(b"Name:")
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match="too large: more than 100 bytes"):
        read_bytes("/proc/self/status")
