import pytest

from skpneumo._images.sources import ImageBytes, digest, read_bytes


def test_unreadable_file_raises_with_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    for path, reason in {"none.png": "no such file", "empty.png": "empty file", "": "a folder"}.items():
        with pytest.raises(ValueError, match=reason):
            read_bytes(str(tmp_path / path))


def test_digest_depends_on_content():
    assert digest(b"image") == digest(bytearray(b"image"))
    assert digest(b"image") != digest(b"images")
    assert len(digest(b"")) == 20


def test_empty_image_in_memory_raises():
    with pytest.raises(ValueError, match="empty file"):
        read_bytes(ImageBytes(b"", "<bytes>"))
