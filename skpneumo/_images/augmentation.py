"""Augmented views of an image: random changes of position, exposure, sharpness and noise."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from skpneumo._images.resizing import scale
from skpneumo._utils.messages import list_items, shortened
from skpneumo._utils.validation import Finite

# Increase it with any change to the gray values of a view: it is part of the keys of stored features.
VERSION = 1

_PERSONALIZATION = b"skpneumo view"
_KEY_SIZE, _NUMBER_SIZE = 8, 4  # bytes
_BLUR_SIDE = 224  # pixels; side of the image that blur refers to


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the random changes, drawn independently for each view.

    Parameters
    ----------
    rotation : float
        Largest angle in degrees, to either side.
    area : float
        Smallest area of a view, relative to the area of the plain image.
    margin : float
        The largest relative area is 1 plus this; pixels outside the image are black.
    aspect : float
        The ratio of width to height is multiplied by e^-aspect to e^aspect.
    gamma : float
        Gray values between 0 and 1 are raised to a power of e^-gamma to e^gamma.
    contrast : float
        Differences from the mean gray value are multiplied by e^-contrast to e^contrast.
    brightness : float
        Largest shift of gray values between 0 and 1, to either side.
    blur : float
        Largest standard deviation of the blur, in pixels of an image with a side of 224; half of the views are blurred.
    noise : float
        Largest standard deviation of the noise, for gray values between 0 and 1; half of the views are noisy.
    flip : float
        Proportion of mirrored views. Mirroring moves the heart to the right.
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
        """Convert the `augmentation` parameter of an estimator.

        Raises
        ------
        TypeError
            If it is neither "xray" nor a mapping.
        ValueError
            If strengths are unknown or out of bounds.
        """
        if isinstance(parameter, str) and parameter == "xray":
            return XRAY
        if not isinstance(parameter, Mapping):
            raise TypeError(f"augmentation must be 'xray' or a mapping of strengths; got {shortened(repr(parameter))}.")
        bounds = {field.name: (0.0, float("inf")) for field in fields(cls)}
        bounds |= {"rotation": (0, 180), "area": (0.01, 1), "flip": (0, 1)}
        bounds |= {"aspect": (0, 2), "gamma": (0, 5), "contrast": (0, 5)}  # exponents
        errors = [f"{name!r} is unknown" for name in parameter if name not in bounds]
        for name, value in parameter.items():
            low, high = bounds.get(name, (-np.inf, np.inf))
            if not Finite(Real, low, high, closed="both").is_satisfied_by(value):
                given = value.item() if isinstance(value, np.generic) else value
                errors.append(f"{name}={given!r} is not a finite number from {low:g} to {high:g}")
        if errors:
            raise ValueError(
                f"augmentation has invalid strengths: {list_items(errors)}. The strengths are {', '.join(bounds)}."
            )
        return cls(**{name: float(value) for name, value in parameter.items()})

    @cached_property
    def key(self) -> bytes:
        """Return a key of everything that affects the views of an image, except their number."""
        strengths = " ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return hashlib.blake2b(f"views {VERSION} {strengths}".encode(), digest_size=_KEY_SIZE).digest()

    def item(self, content: bytes, number: int) -> bytes:
        """Return the key of a view of an image; view 0 is the plain image."""
        return content + self.key + number.to_bytes(_NUMBER_SIZE, "big") if number else content

    def view(self, item: bytes, content: bytes) -> "View | None":
        """Draw the view with the key `item`, from the image digest and the view number alone."""
        if item == content:
            return None
        bits = hashlib.blake2b(item, digest_size=64, person=_PERSONALIZATION).digest()
        draws = iter(np.frombuffer(bits, "<u4") / 2.0**32)

        def symmetric(strength: float) -> float:
            return float((2 * next(draws) - 1) * strength)

        return View(
            angle=symmetric(self.rotation),
            area=float(self.area + (1 + self.margin - self.area) * next(draws)),
            ratio=float(np.exp(symmetric(self.aspect))),
            position=(symmetric(1), symmetric(1)),
            gamma=float(np.exp(symmetric(self.gamma))),
            contrast=float(np.exp(symmetric(self.contrast))),
            brightness=symmetric(self.brightness),
            blur=float(max(0, 2 * next(draws) - 1) * self.blur),
            noise=float(max(0, 2 * next(draws) - 1) * self.noise),
            seed=int(next(draws) * 2**32),
            is_flipped=bool(next(draws) < self.flip),
        )


XRAY = Augmentation()

# Simulates a domain shift stronger than that of the training views, to score early stopping on.
SHIFTED = Augmentation(
    rotation=10, area=0.35, margin=1.0, aspect=0.5, gamma=1.1, contrast=1.2, brightness=0.4, blur=2.5, noise=0.12
)


@dataclass(frozen=True)
class View:
    """Geometry and gray-value changes of one view."""

    angle: float
    area: float
    ratio: float
    position: tuple[float, float]
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    seed: int
    is_flipped: bool

    def apply(self, gray: Image.Image, sides: tuple[float, float], size: int) -> Image.Image:
        """Compute the view of `gray`, where the plain image is the centered region with these sides."""
        # Pillow's affine transformation interpolates without averaging, so large images are reduced first.
        factor = min(1.0, size / min(self._sides(sides)))
        width, height = (max(1, round(side * factor)) for side in gray.size)
        scaled = scale(gray, (width, height))
        transformed = self.transform(self._adjust_gray_values(scaled), [side * factor for side in sides], size)
        return self._blur_and_add_noise(transformed)

    def transform(self, gray: Image.Image, sides: Sequence[float], size: int) -> Image.Image:
        """Rotate, translate and resize an image; pixels outside it are black."""
        width, height = (side / size for side in self._sides(sides))  # pixels of `gray` per pixel of the view
        center = [
            side / 2 + position * max(0.0, side - size * step) / 2
            for side, position, step in zip(gray.size, self.position, (width, height), strict=True)
        ]
        cos, sin = np.cos(np.deg2rad(self.angle)), np.sin(np.deg2rad(self.angle))
        rotation = np.array([[cos * width, -sin * height], [sin * width, cos * height]])
        if self.is_flipped:
            rotation[:, 0] *= -1
        start = np.asarray(center) - rotation @ [size / 2, size / 2]
        matrix = (*rotation[0], start[0], *rotation[1], start[1])
        return gray.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=0)

    def _sides(self, sides: Sequence[float]) -> list[float]:
        """Return the sides of the view in pixels of the image."""
        return [
            side * np.sqrt(self.area * ratio) for side, ratio in zip(sides, (self.ratio, 1 / self.ratio), strict=True)
        ]

    def _adjust_gray_values(self, gray: Image.Image) -> Image.Image:
        values = (np.arange(256) / 255) ** self.gamma
        counts = np.asarray(gray.histogram())
        mean = counts @ values / counts.sum()
        values = mean + (values - mean) * self.contrast + self.brightness
        return gray.point(np.rint(255 * np.clip(values, 0, 1)).astype(int).tolist())

    def _blur_and_add_noise(self, view: Image.Image) -> Image.Image:
        radius = self.blur * view.width / _BLUR_SIDE
        if radius:
            view = view.filter(ImageFilter.GaussianBlur(radius))
        if self.noise:
            noise = np.random.RandomState(self.seed).standard_normal(view.size[::-1])
            noisy = np.asarray(view) + 255 * self.noise * noise
            view = Image.fromarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))
        return view
