"""Detection of duplicate images: equal files, equal pixels, or the same radiograph saved in another way."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from skpneumo._images.decoding import look, whole
from skpneumo._images.sources import digest, read_bytes

# Pairs below the coarse similarity are not compared further; below the detail similarity they are no duplicates.
_MIN_COARSE, _MIN_DETAIL = 0.85, 0.82
# Small images hold few details, so those of different chests are more similar.
_SMALL_SIDE, _MIN_DETAIL_OF_SMALL = 64, 0.90

_THUMBNAIL_SIDE = 128  # pixels
_DESCRIPTOR_SIDE = 24  # pixels
_BORDER = 0.1  # proportion of each side ignored in a descriptor, to tolerate margins and small crops
_TILE, _SEARCH_RADIUS = 24, 6  # pixels of a thumbnail
_MIN_CONTRAST = 4.0  # gray levels; smaller differences are noise or compression artifacts
_BLOCK_SIZE = 1024  # images compared at once

# Scale, shift to the right and shift down of copies with up to 3% cropped or added, on all sides or on two.
_FRAMINGS = [(scale, 0.0, 0.0) for scale in (0.94, 0.97, 1.0, 1.03, 1.06)] + [
    (scale, right, down) for scale in (0.97, 1.03) for right in (-0.015, 0.015) for down in (-0.015, 0.015)
]


class Fingerprint(NamedTuple):
    """Digests and a thumbnail of an image, to compare it with others."""

    content: bytes  # digest of the file
    pixels: bytes  # digest of the decoded gray values and their shape
    short_side: int  # pixels
    thumbnail: np.ndarray | None  # (128, 128) uint8, stretched to a square; None if the image was not decoded


def fingerprint(data: bytes, gray: Image.Image) -> Fingerprint:
    """Compute the fingerprint of an image from the bytes of its file and its decoded pixels."""
    pixels = digest(f"{gray.size} ".encode() + gray.tobytes())
    thumbnail = np.asarray(gray.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BILINEAR))
    return Fingerprint(digest(data), pixels, min(gray.size), thumbnail)


def read_fingerprint(path: str, decode: bool) -> Fingerprint | str:
    """Compute the fingerprint of a file, or return why it cannot be read; without decoding, of its bytes alone."""
    try:
        data = read_bytes(path)
        if decode:
            return fingerprint(data, whole(data)[1])
        look(data)
    except (OSError, ValueError) as error:
        return str(error)
    return Fingerprint(digest(data), digest(data), 0, None)


def exact_pairs(first: Sequence[Fingerprint], second: Sequence[Fingerprint]) -> list[tuple[int, int, bool]]:
    """Return the positions of all pairs with equal pixels, in order, and whether their files are equal."""
    positions = defaultdict(list)
    for j, other in enumerate(second):
        positions[other.pixels].append(j)
    return [
        (i, j, one.content == second[j].content) for i, one in enumerate(first) for j in positions.get(one.pixels, ())
    ]


def near_pairs(
    first: Sequence[Fingerprint], second: Sequence[Fingerprint] | None = None
) -> list[tuple[int, int, float]]:
    """Return the positions and the similarity of all pairs that show the same radiograph.

    Without `second`, pairs are within `first`, each of them once.

    A copy may be compressed, resized, brighter or darker, framed or cropped by about 3%. Rotated, mirrored and inverted
    copies are not found. The similarity of equal pixels is 1.
    """
    others = first if second is None else second
    right = _thumbnails(others)
    descriptors = _descriptors(right, 1.0, 0.0, 0.0)
    found = []
    for start in range(0, len(first), _BLOCK_SIZE):
        left = _thumbnails(first[start : start + _BLOCK_SIZE])
        begin = start if second is None else 0
        similar = np.full((len(left), len(right) - begin), -1, np.float32)
        for framing in _FRAMINGS:
            np.maximum(similar, _descriptors(left, *framing) @ descriptors[begin:].T, out=similar)
        if second is None:
            similar[np.tril_indices(len(left))] = -1
        for i, j in np.add(np.argwhere(similar >= _MIN_COARSE), [0, begin]):
            one, other = first[start + i], others[j]
            similarity = 1.0 if one.pixels == other.pixels else _detail_similarity(left[i], right[j])
            is_small = min(one.short_side, other.short_side) < _SMALL_SIDE
            if similarity >= (_MIN_DETAIL_OF_SMALL if is_small else _MIN_DETAIL):
                found.append((int(start + i), int(j), similarity))
    return found


def _thumbnails(fingerprints: Sequence[Fingerprint]) -> np.ndarray:
    return np.array([each.thumbnail for each in fingerprints], np.uint8).reshape(-1, _THUMBNAIL_SIDE, _THUMBNAIL_SIDE)


def _descriptors(thumbnails: np.ndarray, scale: float, right: float, down: float) -> np.ndarray:
    """Reduce the center of each thumbnail, in a given framing, to a unit vector; return (n, 24 * 24) float32."""
    half = (0.5 - _BORDER) * scale
    x, y = 0.5 + right, 0.5 + down
    side = _THUMBNAIL_SIDE
    box = (side * (x - half), side * (y - half), side * (x + half), side * (y + half))
    sides = (_DESCRIPTOR_SIDE, _DESCRIPTOR_SIDE)
    small = [Image.fromarray(each).resize(sides, Image.Resampling.BILINEAR, box=box) for each in thumbnails]
    rows = _normalize_contrast(np.array([np.asarray(each) for each in small], np.float32).reshape(-1, *sides), 2.0)
    rows = rows.reshape(len(rows), _DESCRIPTOR_SIDE**2)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _normalize_contrast(images: np.ndarray, sigma: float) -> np.ndarray:
    """Subtract the local mean and divide by the local contrast."""
    sigmas = (0, sigma, sigma)[-images.ndim :]
    details = images - ndimage.gaussian_filter(images, sigmas, mode="nearest")
    return details / (np.sqrt(ndimage.gaussian_filter(details**2, sigmas, mode="nearest")) + _MIN_CONTRAST)


def _detail_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean over tiles of their highest correlation with a nearby window of the other thumbnail."""
    a, b = (_normalize_contrast(each.astype(np.float32), 4.0) for each in (one, other))
    side = _TILE + 2 * _SEARCH_RADIUS
    starts = range(_SEARCH_RADIUS + 10, _THUMBNAIL_SIDE - _SEARCH_RADIUS - 10 - _TILE + 1, _TILE)
    corners = [(y, x) for y in starts for x in starts]
    tiles = np.array([a[y : y + _TILE, x : x + _TILE] for y, x in corners])
    offset = _SEARCH_RADIUS
    windows = np.array([b[y - offset : y + _TILE + offset, x - offset : x + _TILE + offset] for y, x in corners])
    spectra = fft.rfft2(windows) * np.conj(fft.rfft2(tiles, (side, side)))
    shifts = slice(0, 2 * _SEARCH_RADIUS + 1)
    products = fft.irfft2(spectra, (side, side))[:, shifts, shifts]
    sums = np.cumsum(np.cumsum(np.pad(windows**2, ((0, 0), (1, 0), (1, 0))), axis=1), axis=2)
    energies = sums[:, _TILE:, _TILE:] - sums[:, :-_TILE, _TILE:] - sums[:, _TILE:, :-_TILE] + sums[:, :-_TILE, :-_TILE]
    norms = np.sqrt((tiles**2).sum(axis=(1, 2))[:, None, None] * energies.clip(min=0))
    return float((products / (norms + 1e-6)).max(axis=(1, 2)).mean())
