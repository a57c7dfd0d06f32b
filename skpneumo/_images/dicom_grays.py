"""Gray values of the pixels of a DICOM file."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from skpneumo._images.dicom_header import Header, damaged
from skpneumo._images.pixels import largest_value, row_blocks
from skpneumo._utils.messages import shortened

PHOTOMETRIC = 0x00280004
_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_CENTER, _WIDTH, _FUNCTION = 0x00281050, 0x00281051, 0x00281056
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_MODALITY_LUT, _VOI_LUT, _LUT_DESCRIPTOR, _LUT_DATA = 0x00283000, 0x00283010, 0x00283002, 0x00283006
_PRESENTATION_SHAPE = 0x20500020


def gray_values(header: Header, levels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the gray value of each value that a pixel can have.

    Unlike the functions of pydicom, those of this module keep positions in tables of 8 bits with more than 256 entries,
    and neither warn nor need values of the types that the standard prescribes.

    Parameters
    ----------
    header : Header
        Header of the file.
    levels : ndarray of shape (n_levels,)
        All values that a pixel can have, in order.
    positions : ndarray of shape (rows, columns)
        Position of each pixel among the levels.

    Returns
    -------
    ndarray of shape (n_levels,), uint8

    Raises
    ------
    ValueError
        If values in the header are damaged or not supported.
    """
    with np.errstate(all="ignore"):
        return _gray_values(header, levels, positions)


def _gray_values(header: Header, levels: np.ndarray, positions: np.ndarray) -> np.ndarray:
    is_padding = _is_padding(header, levels)
    occurs = np.zeros(len(levels), bool)
    for rows in row_blocks(*positions.shape):
        occurs[positions[rows]] = True
    is_inverse = header.text(PHOTOMETRIC) == "MONOCHROME1" or header.text(_PRESENTATION_SHAPE) == "INVERSE"
    values, is_falling = _modality_values(header, levels)
    if luts := header.items(_VOI_LUT):
        values, white = _look_up(values, luts[0])
        grays = values * (255 / white)
    elif window := _window(header):
        grays = 255 * window.apply(values)
    else:
        if not header.items(_MODALITY_LUT):  # a linear scale has no effect if the range is that of the pixels
            values, is_inverse = levels.astype(float), is_inverse != is_falling
        used = values[occurs & ~is_padding]
        low, high = (min(used.min(), 0.0), largest_value(used.max())) if used.size else (0.0, 1.0)
        grays = (values - low) * (255 / (high - low))
    table = np.rint(grays.clip(0, 255)).astype(np.uint8)
    if is_inverse:
        table = 255 - table
    table[is_padding] = 0
    return table


def _is_padding(header: Header, levels: np.ndarray) -> np.ndarray:
    code = "h" if levels[0] < 0 else "H"
    padding = [value for tag in (_PADDING, _PADDING_LIMIT) for value in header.integers(tag, code)[:1]]
    if _PADDING not in header.elements or not padding:
        return np.zeros(len(levels), bool)
    return (levels >= min(padding)) & (levels <= max(padding))


def _modality_values(header: Header, levels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Apply the modality transformation; return the values and whether they fall with increasing levels."""
    if luts := header.items(_MODALITY_LUT):
        return _look_up(levels, luts[0])[0], False
    slope, intercept = header.numbers(_SLOPE), header.numbers(_INTERCEPT)
    if not (slope and intercept):
        return levels.astype(float), False
    values = levels * slope[0] + intercept[0]
    if not (slope[0] and np.isfinite(values).all()):
        raise damaged(f"its rescale slope is {slope[0]:g}")
    return values, slope[0] < 0


def _look_up(values: np.ndarray, lut: Header) -> tuple[np.ndarray, int]:
    """Return the entries of a table at `values`, and the largest value of its number of bits."""
    descriptor, data = lut.integers(_LUT_DESCRIPTOR), lut.value(_LUT_DATA)
    if len(descriptor) != 3 or not data:
        raise damaged("a lookup table is incomplete")
    n_entries, first, n_bits = descriptor[0] or 2**16, descriptor[1], descriptor[2]
    if first >= 2**15 and values.min() < 0:  # stored as a signed integer
        first -= 2**16
    is_packed = n_bits == 8 and len(data) in {n_entries, n_entries + 1}  # entries of one byte
    if not 8 <= n_bits <= 16 or len(data) < n_entries * (2 - is_packed):
        raise damaged("a lookup table is incomplete")
    entries = np.frombuffer(data, np.uint8 if is_packed else f"{lut.order}u2", n_entries)
    return entries[np.clip(np.rint(values).astype(int) - first, 0, n_entries - 1)].astype(float), 2**n_bits - 1


class _Window(NamedTuple):
    center: float
    width: float
    function: str  # LINEAR, LINEAR_EXACT or SIGMOID

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the fraction of white of each value."""
        center, width = self.center, self.width
        if self.function == "SIGMOID":
            return expit(4 * (values - center) / width)
        if self.function == "LINEAR":
            center, width = center - 0.5, width - 1
        if not width:
            return (values > center).astype(float)
        return ((values - center) / width + 0.5).clip(0, 1)


def _window(header: Header) -> _Window | None:
    """Return the first window, or None if there is none."""
    center, width = header.numbers(_CENTER), header.numbers(_WIDTH)
    if not (center and width):
        return None
    window = _Window(center[0], width[0], header.text(_FUNCTION).upper() or "LINEAR")
    if window.function not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        raise ValueError(f"a DICOM file with the unknown VOI LUT function {shortened(window.function, 20)}")
    if window.width < 1 if window.function == "LINEAR" else window.width <= 0:
        raise damaged(f"its window has the width {window.width:g}")
    return window
