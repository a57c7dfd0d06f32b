"""What another site does to a film: tones, sharpness, noise, borders, geometry, files, markers.

``CHANGES[name](film, strength)`` takes and gives an 8-bit gray Pillow image. A strength is 1 (mild), 2 (clear) or 3
(hard, but still to be read). A name and a strength are one site with one style; what varies from film to film is drawn
from the bytes of the film, the name and the strength, so the same film always comes out the same.

None of the changes is what the training augmentation draws: it rotates, crops at random, changes the aspect ratio,
leaves black borders, scales gray values by a power and about their mean, adds a constant, blurs by a Gaussian and adds
noise. Some are of a kind with that: "squash", "stretch", "crop", "framing" and "noise" are drawn in another way here.
"""

import hashlib
import io
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

STRENGTHS = (1, 2, 3)

Change = Callable[[Image.Image, float], Image.Image]


def _draws(film: Image.Image, name: str, strength: float) -> np.random.Generator:
    text = film.tobytes() + f"{film.size} {name} {strength}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def _amount(strength: float, *levels: float) -> float:
    """Interpolate between the levels of the strengths 0, 1, 2 and 3; 0 changes nothing."""
    return float(np.interp(strength, range(len(levels)), levels))


def _gray(film: Image.Image) -> np.ndarray:
    return np.asarray(film, np.float64) / 255


def _film(gray: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * gray.clip(0, 1)).astype(np.uint8))


def _exposure(film: Image.Image, strength: float, sign: int) -> Image.Image:
    """Move along an S-shaped film curve that saturates on both sides."""
    shift = sign * _amount(strength, 0, 0.45, 0.9, 1.35) * _draws(film, "exposure", strength).uniform(0.85, 1.15)
    gray = _gray(film).clip(1 / 510, 1 - 1 / 510)
    return _film(1 / (1 + ((1 - gray) / gray) ** 1.1 * np.exp(-shift)))


def _gamma(film: Image.Image, strength: float, sign: int) -> Image.Image:
    """Apply a power to the negative, as a film is printed: to 1 minus gray."""
    power = _amount(strength, 0, 0.3, 0.55, 0.8) * _draws(film, "gamma", strength).uniform(0.9, 1.1)
    return _film(1 - (1 - _gray(film)) ** np.exp(sign * power))


def _window(film: Image.Image, strength: float) -> Image.Image:
    """Narrow the window towards two percentiles of gray: what lies outside is black or white."""
    share = _amount(strength, 0, 0.35, 0.65, 0.95) * _draws(film, "window", strength).uniform(0.9, 1.05)
    gray = _gray(film)
    low, high = np.percentile(gray, (10, 94)) * share + np.array([0, 1]) * (1 - share)
    return _film((gray - low) / max(high - low, 1 / 255))


def _veil(film: Image.Image, strength: float) -> Image.Image:
    """Lay scattered light over the film, as without a grid: details lose contrast, the large forms do not."""
    share = _amount(strength, 0, 0.25, 0.45, 0.62) * _draws(film, "veil", strength).uniform(0.9, 1.1)
    scattered = _gray(film.filter(ImageFilter.BoxBlur(min(film.size) / 7)))
    return _film((1 - share) * _gray(film) + share * (0.08 + 0.9 * scattered))


def _blur(film: Image.Image, strength: float) -> Image.Image:
    """Let the patient move while the film is exposed, mostly along the body."""
    length = _amount(strength, 0, 0.014, 0.028, 0.045) * min(film.size)
    angle = _draws(film, "blur", strength).normal(0, 0.2)
    edge = int(np.ceil(length)) + 1
    gray = np.pad(_gray(film), edge, "edge")
    path = np.cos(angle) * np.fft.fftfreq(gray.shape[0])[:, None] + np.sin(angle) * np.fft.rfftfreq(gray.shape[1])
    moved = np.fft.irfft2(np.fft.rfft2(gray) * np.sinc(length * path), gray.shape)
    return _film(moved[edge:-edge, edge:-edge])


def _noise(film: Image.Image, strength: float) -> Image.Image:
    """Draw too few quanta: noise that grows with the root of the gray value, and some everywhere."""
    gray = _gray(film)
    grain = _draws(film, "noise", strength).standard_normal(gray.shape)
    return _film(gray + _amount(strength, 0, 0.03, 0.065, 0.11) * grain * np.sqrt(0.15 + gray))


def _framing(film: Image.Image, strength: float) -> Image.Image:
    """Shrink the film onto a black sheet of the same size, off the centre."""
    random = _draws(film, "framing", strength)
    scale = 1 - _amount(strength, 0, 0.1, 0.2, 0.3) * random.uniform(0.9, 1.1)
    size = [max(1, round(side * scale)) for side in film.size]
    place = random.normal((0.7, 0.35), 0.08).clip(0, 1)
    sheet = Image.new("L", film.size, 4)
    corner = [round((whole - part) * share) for whole, part, share in zip(film.size, size, place, strict=True)]
    sheet.paste(film.resize(size, Image.Resampling.BICUBIC), (corner[0], corner[1]))
    return sheet


def _crop(film: Image.Image, strength: float) -> Image.Image:
    """Cut one corner's two sides away, as where the plate lay too low and to one side."""
    lost = _amount(strength, 0, 0.1, 0.18, 0.26) * _draws(film, "crop", strength).uniform(0.9, 1.1, 2)
    width, height = film.size
    return film.crop((round(width * lost[0]), 0, width, round(height * (1 - lost[1]))))


def _widen(film: Image.Image, strength: float, sign: int) -> Image.Image:
    factor = np.exp(sign * _amount(strength, 0, 0.14, 0.26, 0.38) * _draws(film, "width", strength).uniform(0.9, 1.1))
    return film.resize((max(1, round(film.width * factor)), film.height), Image.Resampling.BICUBIC)


def _downscaling(film: Image.Image, strength: float) -> Image.Image:
    """Keep a small copy only, and enlarge it again."""
    scale = 1 / _amount(strength, 1, 1.8, 2.8, 4.2)
    small = film.resize([max(1, round(side * scale)) for side in film.size], Image.Resampling.BOX)
    return small.resize(film.size, Image.Resampling.BILINEAR)


def _jpeg(film: Image.Image, strength: float) -> Image.Image:
    file = io.BytesIO()
    film.save(file, "JPEG", quality=round(_amount(strength, 90, 28, 14, 8)))
    return Image.open(file).convert("L")


def _markers(film: Image.Image, strength: float) -> Image.Image:
    """Burn in a letter; then a disc and a name too; then larger ones, tape and a cable."""
    film, random, level = film.copy(), _draws(film, "markers", strength), max(1, round(strength))
    draw, side = ImageDraw.Draw(film), min(film.size)

    def at(x: float, y: float) -> tuple[float, float]:
        dx, dy = random.normal(0, 0.008, 2)
        return (x + dx) * film.width, (y + dy) * film.height

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
    return film


def _combined(film: Image.Image, strength: float, sign: int) -> Image.Image:
    """Change a little of everything: a bright, veiled site (1) or a dark, hard one (-1)."""
    part = 0.65 * strength
    film = _gamma(_exposure(film, 0.65 * part, sign), 0.4 * part, sign)
    film = _veil(film, part) if sign > 0 else _window(film, part)
    film = _markers(_blur(film, part), strength)
    return _jpeg(_framing(film, part), part)


CHANGES: dict[str, Change] = {
    "exposure up": partial(_exposure, sign=1),
    "exposure down": partial(_exposure, sign=-1),
    "gamma up": partial(_gamma, sign=1),
    "gamma down": partial(_gamma, sign=-1),
    "contrast up": _window,
    "contrast down": _veil,
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
