"""Attributes of an image file that do not depend on the anatomy shown."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skpneumo._images.decoding import whole
from skpneumo._images.dicom import DICOM
from skpneumo._images.duplicates import Fingerprint, fingerprint
from skpneumo._images.sources import read_bytes

# Opacities brighten an image, and smooth lungs compress better.
DISEASE_DEPENDENT = frozenset({"file size", "bytes per pixel", "mean gray", "contrast", "black pixels", "white pixels"})

_MAX_MARGIN_RANGE = 6  # gray levels within a row or column of a margin
_BITS_PER_SAMPLE, _IMAGE_DESCRIPTION = 258, 270


class Measured(NamedTuple):
    """The attributes of an image (numbers, flags and categories), its fingerprint, and findings in its DICOM header."""

    fingerprint: Fingerprint
    attributes: dict[str, float | bool | str]
    findings: Mapping[str, str] = MappingProxyType({})


def measure(path: str) -> Measured | str:
    """Measure an image, or return the reason why it cannot be read."""
    try:
        data = read_bytes(path)
        image, gray = whole(data)
    except (OSError, ValueError) as error:
        return str(error)
    found = fingerprint(data, gray)
    attributes = _file(image, gray, len(data)) | _metadata(image) | _gray_values(gray, found)
    if image.format != DICOM:
        return Measured(found, attributes)
    return Measured(found, attributes | image.info["attributes"], image.info["findings"])


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
    if image.format == DICOM:
        return float(image.info["bit depth"])
    tags = getattr(image, "tag_v2", {})
    if _BITS_PER_SAMPLE in tags:
        return float(np.max(tags[_BITS_PER_SAMPLE]))
    if image.mode.startswith("I"):  # without tags, only PNG exceeds 8 bits, and has at most 16
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


def _gray_values(gray: Image.Image, found: Fingerprint) -> dict[str, Any]:
    counts = np.array(gray.histogram(), float)
    fractions, levels = counts / counts.sum(), np.arange(256)
    mean = float(fractions @ levels)
    return {
        "margin": 0.0 if found.thumbnail is None else _margin(found.thumbnail.astype(float)),
        "mean gray": mean,
        "contrast": float(np.sqrt(fractions @ (levels - mean) ** 2)),
        "black pixels": float(fractions[:3].sum()),
        "white pixels": float(fractions[253:].sum()),
    }


def _margin(thumbnail: np.ndarray) -> float:
    """Compute the fraction of the area taken by rows and columns of uniform gray at the edges."""
    spans = [_fraction_inside(lines) for lines in (thumbnail, thumbnail.T)]
    return 1 - spans[0] * spans[1]


def _fraction_inside(lines: np.ndarray) -> float:
    low, high = np.percentile(lines, [2, 98], axis=1)
    uneven = np.flatnonzero(high - low > _MAX_MARGIN_RANGE)
    return float(uneven[-1] + 1 - uneven[0]) / len(lines) if len(uneven) else 0.0
