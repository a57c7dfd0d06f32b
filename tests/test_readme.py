"""What the README shows works as it stands there."""

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
    """What the README's examples find: films in Kaggle's layout, those of another hospital, Keras's download."""
    root = tmp_path_factory.mktemp("readme")
    style = {"image_size": 64, "images_per_patient": 1}
    make_chest_xrays(100, root / "chest_xray" / "train", **style, random_state=0)
    make_chest_xrays(12, root / "chest_xray" / "test", **style, random_state=1)
    normal = root / "chest_xray" / "test" / "NORMAL"
    min(normal.iterdir()).rename(normal / "IM-0001-0001.jpeg")
    (root / "other_hospital").mkdir()
    for path in make_chest_xrays(24, root / "made", **style, random_state=2).data.ravel():
        shutil.copy(path, root / "other_hospital")
    models = root / "keras" / "models"  # where Keras keeps what it has downloaded
    models.mkdir(parents=True)
    write_keras_vgg19(models / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5")
    return root


def test_the_examples_run_as_they_stand(readme, folders):
    example = "\nprint('---')\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    environment = os.environ | {"KERAS_HOME": str(folders / "keras")}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folders, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    fitted, judged, seen, served = re.split("^---\n", done.stdout, flags=re.MULTILINE)
    scores, probabilities = (np.array(re.findall(r"\d\.\d*(?:e-?\d+)?", line), float) for line in fitted.splitlines())
    assert len(scores) == 5
    assert probabilities.sum() == pytest.approx(1)
    assert (folders / "pneumonia.joblib").stat().st_size < 1_000_000
    assert re.search(r"Sensitivity +\d\.\d{3} +\d\.\d{3} to \d\.\d{3}", judged)
    said = judged[judged.rindex("[") :]
    assert len(re.findall("0|1|None", said)) == 24
    assert not seen
    assert "<h1" in (folders / "report.html").read_text(encoding="utf-8")
    assert (folders / "MODEL_CARD.md").read_text(encoding="utf-8").count("\n## ") > 5
    *of_film, threshold = map(float, re.findall(r"\d\.\d*(?:e-?\d+)?", served))
    assert sum(of_film) == pytest.approx(1)
    assert threshold == 0.5
    assert (folders / "offline.joblib").stat().st_size > 40_000_000


def test_files_that_the_readme_names_exist(readme):
    named = re.findall(r"\]\(([^)#:]+)\)", readme) + re.findall(r"(?:examples|tests|docs)/\w+\.py", readme)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_there_is_one_command_for_the_main_job_and_one_for_the_tests(readme):
    for mark in ("quickstart", "tests"):
        assert re.search(rf"<!-- {mark} -->\n```bash\n[^\n]+\n```\n", readme), mark
