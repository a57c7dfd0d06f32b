"""Resizing that gives the same gray values in every version of Pillow."""

from PIL import Image

Box = tuple[float, float, float, float]  # left, upper, right, lower


def scale(gray: Image.Image, sides: tuple[int, int], box: Box | None = None) -> Image.Image:
    """Resize a gray image, or a box of it, to a width and height by bilinear averaging.

    Pillow rounds between its two passes, and from version 13 on resizes tall images along the height first. The two
    passes are therefore separate calls, along the width first.
    """
    left, upper, right, lower = box or (0, 0, *gray.size)
    bilinear = Image.Resampling.BILINEAR
    narrow = gray.resize((sides[0], gray.height), bilinear, box=(left, 0, right, gray.height))
    return narrow.resize(sides, bilinear, box=(0, upper, sides[0], lower))
