"""Simulated domain shifts: gray values, sharpness, noise, borders, geometry, compression and markers.

``CHANGES[name](image, strength)`` takes and returns an 8-bit gray Pillow image. The strength is 1 (mild), 2 (moderate)
or 3 (strong, but still readable). A name and a strength represent one site; the variation between its images is
determined by the bytes of the image, the name and the strength, so the result is reproducible.

The changes differ from the training augmentation, which rotates, crops, changes the aspect ratio, adds black borders,
applies gamma, contrast and brightness, blurs with a Gaussian and adds noise. "squash", "stretch", "crop", "framing" and
"noise" are similar to it, but have other distributions.
"""

import hashlib
import io
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

STRENGTHS = (1, 2, 3)

Change = Callable[[Image.Image, float], Image.Image]


def _draws(image: Image.Image, name: str, strength: float) -> np.random.Generator:
    text = image.tobytes() + f"{image.size} {name} {strength}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def _amount(strength: float, *levels: float) -> float:
    """Interpolate between the levels of the strengths 0 (no change), 1, 2 and 3."""
    return float(np.interp(strength, range(len(levels)), levels))


def _gray(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64) / 255


def _image(gray: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * gray.clip(0, 1)).astype(np.uint8))


def _exposure(image: Image.Image, strength: float, sign: int) -> Image.Image:
    """Shift exposure along an S-shaped characteristic curve."""
    shift = sign * _amount(strength, 0, 0.45, 0.9, 1.35) * _draws(image, "exposure", strength).uniform(0.85, 1.15)
    gray = _gray(image).clip(1 / 510, 1 - 1 / 510)
    return _image(1 / (1 + ((1 - gray) / gray) ** 1.1 * np.exp(-shift)))


def _gamma(image: Image.Image, strength: float, sign: int) -> Image.Image:
    """Apply gamma to the inverted image."""
    power = _amount(strength, 0, 0.3, 0.55, 0.8) * _draws(image, "gamma", strength).uniform(0.9, 1.1)
    return _image(1 - (1 - _gray(image)) ** np.exp(sign * power))


def _window(image: Image.Image, strength: float) -> Image.Image:
    """Narrow the gray-value window towards two percentiles."""
    fraction = _amount(strength, 0, 0.35, 0.65, 0.95) * _draws(image, "window", strength).uniform(0.9, 1.05)
    gray = _gray(image)
    low, high = np.percentile(gray, (10, 94)) * fraction + np.array([0, 1]) * (1 - fraction)
    return _image((gray - low) / max(high - low, 1 / 255))


def _scatter(image: Image.Image, strength: float) -> Image.Image:
    """Add scattered radiation, as without an anti-scatter grid, which reduces the contrast of details."""
    fraction = _amount(strength, 0, 0.25, 0.45, 0.62) * _draws(image, "veil", strength).uniform(0.9, 1.1)
    scattered = _gray(image.filter(ImageFilter.BoxBlur(min(image.size) / 7)))
    return _image((1 - fraction) * _gray(image) + fraction * (0.08 + 0.9 * scattered))


def _blur(image: Image.Image, strength: float) -> Image.Image:
    """Add motion blur, mostly along the body."""
    length = _amount(strength, 0, 0.014, 0.028, 0.045) * min(image.size)
    angle = _draws(image, "blur", strength).normal(0, 0.2)
    edge = int(np.ceil(length)) + 1
    gray = np.pad(_gray(image), edge, "edge")
    path = np.cos(angle) * np.fft.fftfreq(gray.shape[0])[:, None] + np.sin(angle) * np.fft.rfftfreq(gray.shape[1])
    moved = np.fft.irfft2(np.fft.rfft2(gray) * np.sinc(length * path), gray.shape)
    return _image(moved[edge:-edge, edge:-edge])


def _noise(image: Image.Image, strength: float) -> Image.Image:
    """Add quantum noise, with a standard deviation that grows with the square root of the gray value."""
    gray = _gray(image)
    grain = _draws(image, "noise", strength).standard_normal(gray.shape)
    return _image(gray + _amount(strength, 0, 0.03, 0.065, 0.11) * grain * np.sqrt(0.15 + gray))


def _framing(image: Image.Image, strength: float) -> Image.Image:
    """Shrink the image onto an off-center position of a black image of the same size."""
    random = _draws(image, "framing", strength)
    scale = 1 - _amount(strength, 0, 0.1, 0.2, 0.3) * random.uniform(0.9, 1.1)
    size = [max(1, round(side * scale)) for side in image.size]
    place = random.normal((0.7, 0.35), 0.08).clip(0, 1)
    framed = Image.new("L", image.size, 4)
    corner = [round((whole - part) * fraction) for whole, part, fraction in zip(image.size, size, place, strict=True)]
    framed.paste(image.resize(size, Image.Resampling.BICUBIC), (corner[0], corner[1]))
    return framed


def _crop(image: Image.Image, strength: float) -> Image.Image:
    """Crop the two sides of one corner, as with a displaced detector."""
    lost = _amount(strength, 0, 0.1, 0.18, 0.26) * _draws(image, "crop", strength).uniform(0.9, 1.1, 2)
    width, height = image.size
    return image.crop((round(width * lost[0]), 0, width, round(height * (1 - lost[1]))))


def _widen(image: Image.Image, strength: float, sign: int) -> Image.Image:
    factor = np.exp(sign * _amount(strength, 0, 0.14, 0.26, 0.38) * _draws(image, "width", strength).uniform(0.9, 1.1))
    return image.resize((max(1, round(image.width * factor)), image.height), Image.Resampling.BICUBIC)


def _downscaling(image: Image.Image, strength: float) -> Image.Image:
    """Reduce the resolution and enlarge the image again."""
    scale = 1 / _amount(strength, 1, 1.8, 2.8, 4.2)
    small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _jpeg(image: Image.Image, strength: float) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(_amount(strength, 90, 28, 14, 8)))
    return Image.open(file).convert("L")


def _markers(image: Image.Image, strength: float) -> Image.Image:
    """Burn in a letter; from strength 2 also a disc and a text, at strength 3 also tape and a cable."""
    image, random, level = image.copy(), _draws(image, "markers", strength), max(1, round(strength))
    draw, side = ImageDraw.Draw(image), min(image.size)

    def at(x: float, y: float) -> tuple[float, float]:
        dx, dy = random.normal(0, 0.008, 2)
        return (x + dx) * image.width, (y + dy) * image.height

    font = ImageFont.load_default(round(side * (0.07 + 0.025 * level)))
    draw.text(at(0.88, 0.1), "L" if random.random() < 0.8 else "R", 250, font, anchor="mm")
    if level >= 2:
        x, y = at(0.08, 0.9)
        radius = side * 0.018 * level
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), 245)
        draw.text(
            at(0.03, 0.05), "PORTABLE", 225, ImageFont.load_default(max(4, round(side * 0.022 * level))), anchor="lm"
        )
    if level >= 3:
        x, y = at(0.03, 0.3)
        draw.rectangle((x, y, x + side * 0.05, y + side * 0.3), 215)
        points = [at(*place) for place in ((0.97, 0.35), (0.9, 0.5), (0.93, 0.7), (0.8, 1.0))]
        draw.line(points, 235, max(1, round(side * 0.012)), "curve")
    return image


def _combined(image: Image.Image, strength: float, sign: int) -> Image.Image:
    """Combine moderate changes: bright with low contrast (1) or dark with high contrast (-1)."""
    part = 0.65 * strength
    image = _gamma(_exposure(image, 0.65 * part, sign), 0.4 * part, sign)
    image = _scatter(image, part) if sign > 0 else _window(image, part)
    image = _markers(_blur(image, part), strength)
    return _jpeg(_framing(image, part), part)


CHANGES: dict[str, Change] = {
    "exposure up": partial(_exposure, sign=1),
    "exposure down": partial(_exposure, sign=-1),
    "gamma up": partial(_gamma, sign=1),
    "gamma down": partial(_gamma, sign=-1),
    "contrast up": _window,
    "contrast down": _scatter,
    "blur": _blur,
    "noise": _noise,
    "framing": _framing,
    "crop": _crop,
    "squash": partial(_widen, sign=-1),
    "stretch": partial(_widen, sign=1),
    "down-scaling": _downscaling,
    "JPEG": _jpeg,
    "markers": _markers,
    "combined up": partial(_combined, sign=1),
    "combined down": partial(_combined, sign=-1),
}
