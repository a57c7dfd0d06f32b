"""Decoding of 1,000 image files of mixed formats: gray values, reasons of refusal, and time next to plain Pillow.

Run with ``python -m tests.benchmarks.formats``. ``--sheet FILE`` writes all decoded images as one picture, and
``--count`` sets the number of files.
"""

import argparse
import collections
import io
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images
from skpneumo._images.resizing import scale
from skpneumo._images.sources import read_bytes
from skpneumo.datasets import make_chest_xrays

SIDE = 64
PREPROCESSING = Preprocessing(SIDE, "stretch")
MAX_DIFFERENCE = 4.0  # mean over an image, in gray levels; lossy formats differ by less
ENDINGS = (".jpeg", ".JPG", ".jfif", ".jpe", ".png", ".tif", ".bmp", ".webp", ".dat", "")

# By format: the modes that it stores, and the options with which Pillow saves it.
FORMATS: dict[str, tuple[tuple[str, ...], tuple[dict[str, Any], ...]]] = {
    "JPEG": (
        ("L", "RGB", "CMYK"),
        ({"quality": 95}, {"quality": 80}, {"progressive": True, "quality": 90}),
    ),
    "PNG": (("L", "RGB", "RGBA", "LA", "P", "I;16"), ({}, {"compress_level": 1})),
    "TIFF": (
        ("L", "RGB", "CMYK", "I;16", "I", "F", "P"),
        ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}),
    ),
    "BMP": (("L", "RGB"), ({},)),
    "WEBP": (("RGB", "RGBA"), ({"lossless": True}, {"quality": 90})),
    "MPO": (("RGB",), ({"quality": 95},)),
}
REFUSED = ("GIF", "PDF", "ICO", "text", "empty", "truncated JPEG", "truncated PNG", "two pages", "16 bits as bytes")
SCALES = {"I;16": 257, "I": 257, "F": 1 / 255}  # of the gray values 0 to 255


@dataclass(frozen=True)
class Sample:
    """An image file, with the gray image that it should give; None if it should be refused."""

    kind: str
    path: Path
    expected: np.ndarray | None


def samples(folder: Path, count: int, random: np.random.RandomState) -> Iterator[Sample]:
    """Write image files of mixed formats, modes, sizes from 16 to 9,000 pixels, orientations and endings."""
    X, _ = make_chest_xrays(24, folder / "originals", image_size=512, random_state=0, return_X_y=True)
    originals = [Image.open(path).convert("L") for path in X.ravel()]
    for number in range(count):
        original = originals[number % len(originals)]
        path = folder / f"{number:04d}{ENDINGS[random.randint(len(ENDINGS))]}"
        if number % 10 == 9:
            kind = REFUSED[number // 10 % len(REFUSED)]
            path.write_bytes(_refused(kind, original.resize((96, 96))))
            yield Sample(kind, path, None)
        else:
            kind, data, gray = _readable(original, number, random)
            path.write_bytes(data)
            if kind.endswith(" F"):  # floats are scaled by their own range
                gray = ImageOps.autocontrast(gray)
            yield Sample(kind, path, np.asarray(scale(gray, (SIDE, SIDE)), float))


def _readable(original: Image.Image, number: int, random: np.random.RandomState) -> tuple[str, bytes, Image.Image]:
    width = int(16 * (9_000 / 16) ** random.uniform()) if number % 50 else 9_000
    gray = original.resize((width, max(16, int(width * random.uniform(0.6, 1)))))
    kind = list(FORMATS)[random.randint(len(FORMATS))]
    modes, options = FORMATS[kind]
    mode, option = modes[random.randint(len(modes))], dict(options[random.randint(len(options))])
    orientation = random.randint(1, 9) if kind in {"JPEG", "PNG", "TIFF", "WEBP"} else 1
    if orientation > 1:
        option["exif"] = _exif(orientation)
    file = io.BytesIO()
    stored = gray.copy()  # such that it is upright after the transposition
    stored.getexif()[ExifTags.Base.Orientation] = {6: 8, 8: 6}.get(orientation, orientation)
    _converted(ImageOps.exif_transpose(stored), mode).save(file, kind, **option)
    return f"{kind} {mode}", file.getvalue(), gray


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def _converted(gray: Image.Image, mode: str) -> Image.Image:
    if mode == "CMYK":  # Pillow converts gray to black ink alone
        return gray.convert("RGB").convert("CMYK")
    if mode in SCALES:
        pixels = np.asarray(gray).astype(float) * SCALES[mode]
        return Image.fromarray(pixels.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    return gray.convert(mode)


def _refused(kind: str, gray: Image.Image) -> bytes:
    file = io.BytesIO()
    if kind in {"GIF", "PDF", "ICO"}:
        gray.save(file, kind)
    elif kind == "two pages":
        gray.save(file, "TIFF", save_all=True, append_images=[gray])
    elif kind.startswith("truncated"):
        gray.save(file, kind.split()[1])
        return file.getvalue()[: file.tell() // 2]
    return {"text": b"patient;label\n1;0\n", "16 bits as bytes": bytes(2 * 96 * 96)}.get(kind, file.getvalue())


def check(sample: Sample) -> tuple[np.ndarray, str | None]:
    """Decode a file; return the gray image, black if refused, and what is wrong or the reason of refusal."""
    (source,) = as_images([sample.path])
    try:
        decoded = PREPROCESSING.decode(read_bytes(source))
    except ValueError as error:
        return np.zeros((SIDE, SIDE), np.uint8), str(error)
    if sample.expected is None:
        return decoded, "DECODED, BUT SHOULD BE REFUSED"
    difference = float(np.abs(decoded - sample.expected).mean())
    return decoded, f"DIFFERS BY MORE THAN {MAX_DIFFERENCE} GRAY LEVELS" if difference > MAX_DIFFERENCE else None


def plain_pillow(data: bytes) -> np.ndarray:
    """Decode with Pillow alone, at full size."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def time_ratio(files: list[bytes]) -> tuple[float, float]:
    """Return the time of skpneumo over that of plain Pillow: of all files together, and the median over the files."""
    seconds = np.array([[_seconds(decode, data) for decode in (PREPROCESSING.decode, plain_pillow)] for data in files])
    total = seconds.sum(axis=0)
    return float(total[0] / total[1]), statistics.median((seconds[:, 0] / seconds[:, 1]).tolist())


def _seconds(function: Any, data: bytes) -> float:
    def once() -> float:
        start = time.perf_counter()
        function(data)
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def sheet(images: list[np.ndarray], columns: int = 40) -> Image.Image:
    """Draw the images side by side."""
    picture = Image.new("L", (columns * SIDE, -(-len(images) // columns) * SIDE))
    for i, pixels in enumerate(images):
        picture.paste(Image.fromarray(pixels), (i % columns * SIDE, i // columns * SIDE))
    return picture


def main() -> None:
    """Print the outcome of each kind of file."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    outcomes: dict[tuple[str, str], int] = collections.Counter()
    images, timed = [], collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for sample in samples(Path(folder), arguments.count, np.random.RandomState(0)):
            image, outcome = check(sample)
            images.append(image)
            outcomes[sample.kind, outcome or "as expected"] += 1
            if sample.expected is not None and len(timed[sample.kind]) < 8:
                timed[sample.kind].append(sample.path.read_bytes())
    for (kind, outcome), n in sorted(outcomes.items()):
        print(f"{kind:18} {n:4}  {outcome}")
    print("\nTime of decoding over plain Pillow: of all files together, median over the files")
    for name in FORMATS:
        files = [data for kind, some in timed.items() if kind.split()[0] == name for data in some]
        together, median = time_ratio(files)
        print(f"{name:18} {len(files):4}  {together:.2f}  {median:.2f}")
    if arguments.sheet:
        sheet(images).save(arguments.sheet)


if __name__ == "__main__":
    main()
