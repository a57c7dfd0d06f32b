"""The examples of the README run as shown."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import write_keras_vgg19
from skpneumo.datasets import make_chest_xrays

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Create the files used in the README: X-rays in the Kaggle layout, X-rays of another hospital, Keras weights."""
    root = tmp_path_factory.mktemp("readme")
    style = {"image_size": 64, "images_per_patient": 1}
    make_chest_xrays(100, root / "chest_xray" / "train", **style, random_state=0)
    make_chest_xrays(12, root / "chest_xray" / "test", **style, random_state=1)
    normal = root / "chest_xray" / "test" / "NORMAL"
    min(normal.iterdir()).rename(normal / "IM-0001-0001.jpeg")
    (root / "other_hospital").mkdir()
    for path in make_chest_xrays(24, root / "made", **style, random_state=2).data.ravel():
        shutil.copy(path, root / "other_hospital")
    models = root / "keras" / "models"  # the download folder of Keras
    models.mkdir(parents=True)
    write_keras_vgg19(models / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5")
    return root


def test_readme_examples_run(readme, folders):
    example = "\nprint('---')\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    environment = os.environ | {"KERAS_HOME": str(folders / "keras")}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folders, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    fitted, evaluated, seen, served = re.split("^---\n", done.stdout, flags=re.MULTILINE)
    scores, probabilities = (np.array(re.findall(r"\d\.\d*(?:e-?\d+)?", line), float) for line in fitted.splitlines())
    assert len(scores) == 5
    assert probabilities.sum() == pytest.approx(1)
    assert (folders / "pneumonia.joblib").stat().st_size < 1_000_000
    assert re.search(r"Sensitivity +\d\.\d{3} +\d\.\d{3} to \d\.\d{3}", evaluated)
    predicted = evaluated[evaluated.rindex("[") :]
    assert len(re.findall("0|1|None", predicted)) == 24
    assert not seen
    assert "<h1" in (folders / "report.html").read_text(encoding="utf-8")
    assert (folders / "MODEL_CARD.md").read_text(encoding="utf-8").count("\n## ") > 5
    *probabilities_of_image, threshold = map(float, re.findall(r"\d\.\d*(?:e-?\d+)?", served))
    assert sum(probabilities_of_image) == pytest.approx(1)
    assert threshold == pytest.approx(0.5, abs=0.01)
    assert (folders / "offline.joblib").stat().st_size > 4_000_000


def test_files_named_in_the_readme_exist(readme):
    named = re.findall(r"\]\(([^)#:]+)\)", readme) + re.findall(r"(?:examples|tests|docs)/\w+\.py", readme)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_readme_has_one_command_for_the_quick_start_and_one_for_the_tests(readme):
    for mark in ("quickstart", "tests"):
        assert re.search(rf"<!-- {mark} -->\n```bash\n[^\n]+\n```\n", readme), mark
