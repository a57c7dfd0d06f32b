"""Folders of files in the supported layouts, which begin like images if they are named so, and a local server."""

from pathlib import Path

import pytest

from datasets.http_server import serve

JPEG = b"\xff\xd8\xff\xe0"

KAGGLE = [
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/IM-0115-0002.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "train/PNEUMONIA/person1_virus_6.jpeg",
    "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person3_virus_17.jpeg",
]

FLAT = ["NORMAL/IM-0115-0001.jpeg", "PNEUMONIA/person1_bacteria_1.jpeg"]


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_image = path.suffix.lower() in {".jpeg", ".jpg", ".png", ".tiff", ".webp"}
        path.write_bytes(JPEG if is_image else b"text")
    return root


def relative(bunch, root):
    return [Path(path).relative_to(root).as_posix() for path in bunch.data[:, 0]]


@pytest.fixture
def server(monkeypatch):
    """Run a local server, which is reached without a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as running:
        yield running
