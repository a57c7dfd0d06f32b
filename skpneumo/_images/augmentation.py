"""Views of a film: the same film as another position, exposure and sharpness would have shown it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from skpneumo._images.resizing import scale

# Whatever changes a single gray value of a view must raise this number: stored features carry it.
VERSION = 1

_PERSON = b"skpneumo view"
_KEY_SIZE, _NUMBER_SIZE = 8, 4  # bytes
_BLUR_SIDE = 224  # pixels: the side that strengths of blur are meant for


@dataclass(frozen=True)
class Augmentation:
    """How far views differ from the plain image; each of them draws every difference anew.

    Parameters
    ----------
    rotation : float
        Largest angle in degrees, to either side.
    area : float
        Smallest share of the area that is kept, above 0.
    margin : float
        The largest is 1 plus this; what lies around the image is black.
    aspect : float
        The ratio of width to height changes by e^-aspect to e^aspect.
    gamma : float
        Gray values between 0 and 1 are raised to a power from e^-gamma to e^gamma.
    contrast : float
        Their distances from the mean change by e^-contrast to e^contrast.
    brightness : float
        They are shifted by at most this.
    blur : float
        Standard deviation in pixels of an image of 224; half of the views are blurred by up to this.
    noise : float
        Standard deviation of the noise, of gray values between 0 and 1; half of the views get up to this.
    flip : float
        Share of the views that are mirrored. This moves the heart to the right.
    """

    rotation: float = 7.0
    area: float = 0.4
    margin: float = 0.8
    aspect: float = 0.3
    gamma: float = 0.8
    contrast: float = 1.0
    brightness: float = 0.3
    blur: float = 1.5
    noise: float = 0.08
    flip: float = 0.0

    @classmethod
    def of(cls, parameter: Any) -> "Augmentation":
        """Turn the parameter of an estimator, a recipe or a mapping of strengths, into one.

        Raises
        ------
        TypeError, ValueError
            It is neither, or strengths are unknown or beyond their bounds: all of them are named.
        """
        if isinstance(parameter, str) and parameter == "xray":
            return XRAY
        if not isinstance(parameter, Mapping):
            raise TypeError(f"augmentation must be 'xray' or a mapping of strengths; got {parameter!r}.")
        bounds = {field.name: (0.0, float("inf")) for field in fields(cls)}
        bounds |= {"rotation": (0, 180), "area": (0.01, 1), "flip": (0, 1)}
        bounds |= {"aspect": (0, 2), "gamma": (0, 5), "contrast": (0, 5)}  # exponents
        faults = [f"{name!r} is none of {', '.join(bounds)}" for name in parameter if name not in bounds]
        for name, value in parameter.items():
            low, high = bounds.get(name, (-np.inf, np.inf))
            if not isinstance(value, Real) or not low <= float(value) <= high or not np.isfinite(float(value)):
                faults.append(f"{name}={value!r} is no finite number from {low} to {high}")
        if faults:
            raise ValueError(f"augmentation={dict(parameter)!r}: {'; '.join(faults)}.")
        return cls(**{name: float(value) for name, value in parameter.items()})

    @cached_property
    def key(self) -> bytes:
        """Name everything that shapes the views of an image but its number."""
        strengths = " ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return hashlib.blake2b(f"views {VERSION} {strengths}".encode(), digest_size=_KEY_SIZE).digest()

    def item(self, content: bytes, number: int) -> bytes:
        """Name a view of an image; 0 is the image itself."""
        return content + self.key + number.to_bytes(_NUMBER_SIZE, "big") if number else content

    def view(self, item: bytes, content: bytes) -> "View | None":
        """Draw the view that `item` names, from the content and the number alone."""
        if item == content:
            return None
        bits = hashlib.blake2b(item, digest_size=64, person=_PERSON).digest()
        draws = iter(np.frombuffer(bits, "<u4") / 2.0**32)

        def symmetric(strength: float) -> float:
            return float((2 * next(draws) - 1) * strength)

        return View(
            angle=symmetric(self.rotation),
            share=float(self.area + (1 + self.margin - self.area) * next(draws)),
            ratio=float(np.exp(symmetric(self.aspect))),
            place=(symmetric(1), symmetric(1)),
            gamma=float(np.exp(symmetric(self.gamma))),
            contrast=float(np.exp(symmetric(self.contrast))),
            brightness=symmetric(self.brightness),
            blur=float(max(0, 2 * next(draws) - 1) * self.blur),
            noise=float(max(0, 2 * next(draws) - 1) * self.noise),
            seed=int(next(draws) * 2**32),
            is_flipped=bool(next(draws) < self.flip),
        )


XRAY = Augmentation()

# How another site might show a film, for early stopping to judge by: beyond what training draws.
SHIFTED = Augmentation(
    rotation=10, area=0.35, margin=1.0, aspect=0.5, gamma=1.1, contrast=1.2, brightness=0.4, blur=2.5, noise=0.12
)


@dataclass(frozen=True)
class View:
    """One view: where it lies in the image, and what becomes of its gray values."""

    angle: float
    share: float
    ratio: float
    place: tuple[float, float]
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    seed: int
    is_flipped: bool

    def crop(self, gray: Image.Image, whole: tuple[float, float], size: int) -> Image.Image:
        """Cut the view out of `gray`; `whole` is what the plain image shows of it, around the same centre."""
        # Pillow's affine transformation takes single pixels: the scale is changed before, where it averages.
        factor = min(1.0, size / min(self._sides(whole)))
        width, height = (max(1, round(side * factor)) for side in gray.size)
        scaled = scale(gray, (width, height))
        return self._sharpen(self.frame(self._expose(scaled), [side * factor for side in whole], size))

    def frame(self, gray: Image.Image, whole: Sequence[float], size: int) -> Image.Image:
        """Turn, move and scale; what lies outside of `gray` is black."""
        width, height = (side / size for side in self._sides(whole))  # steps a pixel of the view
        centre = [
            side / 2 + place * max(0.0, side - size * step) / 2
            for side, place, step in zip(gray.size, self.place, (width, height), strict=True)
        ]
        cos, sin = np.cos(np.deg2rad(self.angle)), np.sin(np.deg2rad(self.angle))
        turn = np.array([[cos * width, -sin * height], [sin * width, cos * height]])
        if self.is_flipped:
            turn[:, 0] *= -1
        start = np.asarray(centre) - turn @ [size / 2, size / 2]
        matrix = (*turn[0], start[0], *turn[1], start[1])
        return gray.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=0)

    def _sides(self, whole: Sequence[float]) -> list[float]:
        """Sides of what the view shows, in pixels of the image."""
        return [
            side * np.sqrt(self.share * ratio) for side, ratio in zip(whole, (self.ratio, 1 / self.ratio), strict=True)
        ]

    def _expose(self, gray: Image.Image) -> Image.Image:
        values = (np.arange(256) / 255) ** self.gamma
        counts = np.asarray(gray.histogram())
        mean = counts @ values / counts.sum()
        values = mean + (values - mean) * self.contrast + self.brightness
        return gray.point(np.rint(255 * np.clip(values, 0, 1)).astype(int).tolist())

    def _sharpen(self, square: Image.Image) -> Image.Image:
        radius = self.blur * square.width / _BLUR_SIDE
        if radius:
            square = square.filter(ImageFilter.GaussianBlur(radius))
        if self.noise:
            grain = np.random.RandomState(self.seed).standard_normal(square.size[::-1])
            noisy = np.asarray(square) + 255 * self.noise * grain
            square = Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))
        return square
