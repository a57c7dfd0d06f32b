"""What can be said of one image without knowing what it shows."""

import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skpneumo._images.decoding import whole
from skpneumo._images.duplicates import Fingerprint, fingerprint
from skpneumo._images.sources import read_bytes

# Attributes that a disease can change by itself: a veil brightens a film, and smooth lungs compress better.
PICTURE = frozenset({"file size", "bytes per pixel", "mean gray", "contrast", "black pixels", "white pixels"})

_EVEN = 6  # gray levels that a line of a margin may span
_BITS_PER_SAMPLE, _IMAGE_DESCRIPTION = 258, 270


class Measured(NamedTuple):
    """An image, measured: numbers, truths and names of categories by what was measured."""

    film: Fingerprint
    attributes: dict[str, float | bool | str]


def measure(path: str) -> Measured | str:
    """Read an image once and measure it, or say why it cannot be read."""
    try:
        data = read_bytes(path)
        image, gray = whole(data)
    except (OSError, ValueError) as error:
        return str(error)
    seen = fingerprint(data, gray)
    return Measured(seen, _file(image, gray, len(data)) | _metadata(image) | _picture(gray, seen))


def _file(image: Image.Image, gray: Image.Image, n_bytes: int) -> dict[str, Any]:
    tables = getattr(image, "quantization", None) or {}
    return {
        "width": float(gray.width),
        "height": float(gray.height),
        "aspect ratio": gray.width / gray.height,
        "file size": float(n_bytes),
        "bytes per pixel": n_bytes / (gray.width * gray.height),
        "bit depth": _depth(image),
        "colour mode": image.mode,
        "format": image.format or "",
        "progressive": bool(image.info.get("progressive") or image.info.get("progression")),
        "JPEG quantisation": float(np.mean(tables[min(tables)])) if tables else 0.0,
    }


def _depth(image: Image.Image) -> float:
    tags = getattr(image, "tag_v2", {})
    if _BITS_PER_SAMPLE in tags:
        return float(np.max(tags[_BITS_PER_SAMPLE]))
    if image.mode.startswith("I"):  # of the formats without tags PNG alone is deep, and 16 bits at most
        return 16.0
    return 1.0 if image.mode == "1" else 8.0


def _metadata(image: Image.Image) -> dict[str, Any]:
    info, tags = image.info, getattr(image, "tag_v2", {})
    try:
        density = float(info["dpi"][0])
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        density = 0.0
    return {
        "EXIF data": bool(info.get("exif")),
        "ICC profile": bool(info.get("icc_profile")),
        "text": bool(info.get("comment") or getattr(image, "text", None) or tags.get(_IMAGE_DESCRIPTION)),
        "dots per inch": density if math.isfinite(density) else 0.0,
    }


def _picture(gray: Image.Image, seen: Fingerprint) -> dict[str, Any]:
    counts = np.array(gray.histogram(), float)
    shares, levels = counts / counts.sum(), np.arange(256)
    mean = float(shares @ levels)
    return {
        "margin": 0.0 if seen.thumbnail is None else _margin(seen.thumbnail.astype(float)),
        "mean gray": mean,
        "contrast": float(np.sqrt(shares @ (levels - mean) ** 2)),
        "black pixels": float(shares[:3].sum()),
        "white pixels": float(shares[253:].sum()),
    }


def _margin(thumbnail: np.ndarray) -> float:
    """Share of the area that lies outside the lines, from each side, that are more than one even tone."""
    spans = [_inside(lines) for lines in (thumbnail, thumbnail.T)]
    return 1 - spans[0] * spans[1]


def _inside(lines: np.ndarray) -> float:
    low, high = np.percentile(lines, [2, 98], axis=1)
    uneven = np.flatnonzero(high - low > _EVEN)
    return float(uneven[-1] + 1 - uneven[0]) / len(lines) if len(uneven) else 0.0
