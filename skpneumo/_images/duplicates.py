"""Which images are the same film: the same file, the same pixels, or the same picture saved another way."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from skpneumo._images.decoding import look, whole
from skpneumo._images.sources import digest, read_bytes

# Pairs whose coarse sketches agree less are no candidates; candidates whose details agree less are other films.
_COARSE, _DETAIL = 0.85, 0.82
# Images that small hold few details, and those of different chests agree more.
_SMALL, _DETAIL_OF_SMALL = 64, 0.90

_SIDE = 128  # pixels of a thumbnail
_SKETCH = 24  # pixels of a sketch
_BORDER = 0.1  # share of each side that a sketch leaves out, so that margins and small crops hardly matter
_TILE, _REACH = 24, 6  # pixels of a tile of a thumbnail, and how far it is looked for in the other
_FLAT = 4.0  # gray levels: less contrast than that is grain, or the loss of compression
_BLOCK = 1024  # sketches compared at once

# How the same film lies in a copy with up to 3 % cut off or added, on all sides or on two: scale, shift right and down.
_FRAMINGS = [(scale, 0.0, 0.0) for scale in (0.94, 0.97, 1.0, 1.03, 1.06)] + [
    (scale, right, down) for scale in (0.97, 1.03) for right in (-0.015, 0.015) for down in (-0.015, 0.015)
]


class Fingerprint(NamedTuple):
    """What is kept of an image to tell whether another one is the same film."""

    content: bytes  # digest of the file
    pixels: bytes  # digest of the decoded gray values and their shape
    short_side: int  # pixels
    thumbnail: np.ndarray | None  # (128, 128) uint8, sides stretched; None where nothing was decoded


def fingerprint(data: bytes, gray: Image.Image) -> Fingerprint:
    """Describe an image by the bytes of its file and by what they were decoded to."""
    pixels = digest(f"{gray.size} ".encode() + gray.tobytes())
    thumbnail = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    return Fingerprint(digest(data), pixels, min(gray.size), thumbnail)


def read_fingerprint(path: str, decode: bool) -> Fingerprint | str:
    """Describe an image, or say why it cannot be read; not decoded, its file stands in for its pixels."""
    try:
        data = read_bytes(path)
        if decode:
            return fingerprint(data, whole(data)[1])
        look(data)
    except (OSError, ValueError) as error:
        return str(error)
    return Fingerprint(digest(data), digest(data), 0, None)


def exact_pairs(first: Sequence[Fingerprint], second: Sequence[Fingerprint]) -> list[tuple[int, int, bool]]:
    """Positions of all pairs of equal pixels, in order, and whether their files are equal too."""
    where = defaultdict(list)
    for j, other in enumerate(second):
        where[other.pixels].append(j)
    return [(i, j, one.content == second[j].content) for i, one in enumerate(first) for j in where.get(one.pixels, ())]


def near_pairs(
    first: Sequence[Fingerprint], second: Sequence[Fingerprint] | None = None
) -> list[tuple[int, int, float]]:
    """Positions of all pairs that show the same film, equal pixels among them, and how well their details agree.

    Without `second`, pairs are among the first, each of them once.

    The film may have been compressed, scaled, made brighter or darker, framed or cropped by some 3 %. Turned, mirrored
    and inverted copies are not found. Pixels that are equal agree by 1.
    """
    others = first if second is None else second
    right = _thumbnails(others)
    sketches = _sketch(right, 1.0, 0.0, 0.0)
    found = []
    for start in range(0, len(first), _BLOCK):
        left = _thumbnails(first[start : start + _BLOCK])
        begin = start if second is None else 0
        similar = np.full((len(left), len(right) - begin), -1, np.float32)
        for framing in _FRAMINGS:
            np.maximum(similar, _sketch(left, *framing) @ sketches[begin:].T, out=similar)
        if second is None:
            similar[np.tril_indices(len(left))] = -1
        for i, j in np.add(np.argwhere(similar >= _COARSE), [0, begin]):
            one, other = first[start + i], others[j]
            agreement = 1.0 if one.pixels == other.pixels else _agreement(left[i], right[j])
            if agreement >= (_DETAIL_OF_SMALL if min(one.short_side, other.short_side) < _SMALL else _DETAIL):
                found.append((int(start + i), int(j), agreement))
    return found


def _thumbnails(films: Sequence[Fingerprint]) -> np.ndarray:
    return np.array([each.thumbnail for each in films], np.uint8).reshape(-1, _SIDE, _SIDE)


def _sketch(thumbnails: np.ndarray, scale: float, right: float, down: float) -> np.ndarray:
    """Reduce the middle of each thumbnail, in a given framing, to a direction in space, (n, 24 * 24) float32."""
    half = (0.5 - _BORDER) * scale
    x, y = 0.5 + right, 0.5 + down
    window = (_SIDE * (x - half), _SIDE * (y - half), _SIDE * (x + half), _SIDE * (y + half))
    sides = (_SKETCH, _SKETCH)
    small = [Image.fromarray(each).resize(sides, Image.Resampling.BILINEAR, box=window) for each in thumbnails]
    rows = _relief(np.array([np.asarray(each) for each in small], np.float32).reshape(-1, *sides), 2.0)
    rows = rows.reshape(len(rows), _SKETCH**2)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _relief(images: np.ndarray, sigma: float) -> np.ndarray:
    """Leave what is brighter or darker than its surroundings, in units of their contrast."""
    around = (0, sigma, sigma)[-images.ndim :]
    relief = images - ndimage.gaussian_filter(images, around, mode="nearest")
    return relief / (np.sqrt(ndimage.gaussian_filter(relief**2, around, mode="nearest")) + _FLAT)


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate tiles of one thumbnail with the best fitting places near them in the other; the mean of all tiles."""
    a, b = (_relief(each.astype(np.float32), 4.0) for each in (one, other))
    room = _TILE + 2 * _REACH
    corners = range(_REACH + 10, _SIDE - _REACH - 10 - _TILE + 1, _TILE)
    places = [(y, x) for y in corners for x in corners]
    tiles = np.array([a[y : y + _TILE, x : x + _TILE] for y, x in places])
    rooms = np.array([b[y - _REACH : y + _TILE + _REACH, x - _REACH : x + _TILE + _REACH] for y, x in places])
    spectra = fft.rfft2(rooms) * np.conj(fft.rfft2(tiles, (room, room)))
    shifts = slice(0, 2 * _REACH + 1)
    products = fft.irfft2(spectra, (room, room))[:, shifts, shifts]
    sums = np.cumsum(np.cumsum(np.pad(rooms**2, ((0, 0), (1, 0), (1, 0))), axis=1), axis=2)
    energies = sums[:, _TILE:, _TILE:] - sums[:, :-_TILE, _TILE:] - sums[:, _TILE:, :-_TILE] + sums[:, :-_TILE, :-_TILE]
    scale = np.sqrt((tiles**2).sum(axis=(1, 2))[:, None, None] * energies.clip(min=0))
    return float((products / (scale + 1e-6)).max(axis=(1, 2)).mean())
