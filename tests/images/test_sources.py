import pytest

from skpneumo._images.sources import ImageBytes, digest, read_bytes


def test_what_stands_in_the_way_of_a_file_is_said(tmp_path):
    (tmp_path / "empty.png").touch()
    for path, reason in {"none.png": "no such file", "empty.png": "empty file", "": "a folder"}.items():
        with pytest.raises(ValueError, match=reason):
            read_bytes(str(tmp_path / path))


def test_a_digest_names_content_not_files():
    assert digest(b"film") == digest(bytearray(b"film"))
    assert digest(b"film") != digest(b"films")
    assert len(digest(b"")) == 20


def test_an_image_in_memory_that_holds_nothing_is_an_empty_file():
    with pytest.raises(ValueError, match="empty file"):
        read_bytes(ImageBytes(b"", "<bytes>"))
