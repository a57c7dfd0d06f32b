import errno
import os

import pytest

from skpneumo._utils.atomic_write import write_atomically


def test_write_replaces_the_content(tmp_path):
    for content in (b"a longer text\n", b"\r\n"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="links need privileges")
def test_write_keeps_a_link_and_replaces_the_file_it_refers_to(tmp_path):
    (tmp_path / "link").symlink_to("file")
    for content in (b"new", b"replaced"):
        write_atomically(tmp_path / "link", content)
        assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_failed_write_leaves_the_earlier_file(function, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"earlier")

    def disk_full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"earlier"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files")
def test_write_raises_if_the_path_is_not_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="pipe' is not a regular file"):
        write_atomically(tmp_path / "pipe", b"")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_atomically(tmp_path, b"")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_atomically(tmp_path / "missing" / "file", b"")
