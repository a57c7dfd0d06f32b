"""Peak memory of a fit on 2,000 and on 20,000 images: it should grow by the matrix of features alone.

Run by hand from the root of the repository: ``python -m tests.benchmarks.memory`` (some five minutes on two cores).
"""

import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

SETTINGS = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 8, "n_jobs": 2}
N_FEATURES = 64 * 8 * 8
MEGABYTE = 1_000_000


def write_images(folder: str, n_images: int) -> list[str]:
    paths = [os.path.join(folder, f"{i}.png") for i in range(n_images)]
    random = np.random.RandomState(0)
    for path in paths:
        Image.fromarray(random.randint(0, 256, (40, 40), np.uint8)).save(path)
    return paths


def peak_of_fit(folder: str, n_images: int, stored: bool) -> float:
    """Fit in a process of its own, and return the most memory that it held, in MB."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", folder, str(n_images), "stored" if stored else "new"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def fit(folder: str, n_images: int, stored: bool) -> None:
    from skpneumo import PneumoniaClassifier

    paths = [os.path.join(folder, f"{i}.png") for i in range(n_images)]
    memory = os.path.join(folder, "cache") if stored else None
    PneumoniaClassifier(**SETTINGS, memory=memory).fit(paths, np.arange(n_images) % 2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE)


def main() -> None:
    sizes = (2_000, 20_000)
    matrices = [n_images * N_FEATURES * 4 / MEGABYTE for n_images in sizes]
    with tempfile.TemporaryDirectory() as folder:
        write_images(folder, max(sizes))
        print(f"{'fit on':>24} {'peak at 2,000':>14} {'at 20,000':>10} {'growth':>8} {'matrix':>8} {'ratio':>6}")
        for name, stored in (
            ("images, stored nowhere", False),
            ("images, storing them", True),
            ("stored images", True),
        ):
            peaks = [peak_of_fit(folder, n_images, stored) for n_images in sizes]
            growth, matrix = peaks[1] - peaks[0], matrices[1] - matrices[0]
            print(
                f"{name:>24} {peaks[0]:>11.0f} MB {peaks[1]:>7.0f} MB {growth:>5.0f} MB {matrix:>5.0f} MB "
                f"{growth / matrix:>6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fit(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "stored")
    else:
        main()
