"""What the README shows works as it stands there."""

import os
import re
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


def test_the_example_runs_as_it_stands(readme, tmp_path):
    films = make_chest_xrays(24, tmp_path / "chest_xray" / "train", image_size=64, images_per_patient=1, random_state=0)
    models = tmp_path / "keras" / "models"  # where Keras keeps what it has downloaded
    models.mkdir(parents=True)
    write_keras_vgg19(models / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5")
    test = tmp_path / "chest_xray" / "test" / "NORMAL"
    test.mkdir(parents=True)
    normal = films.data[films.target == 0][0, 0]
    (test / "IM-0001-0001.jpeg").write_bytes(Path(normal).read_bytes())
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    environment = os.environ | {"KERAS_HOME": str(tmp_path / "keras")}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scores, probabilities = (np.array(re.findall(r"\d\.\d*", line), float) for line in done.stdout.splitlines())
    assert len(scores) == 5
    assert probabilities.sum() == pytest.approx(1)
    assert (tmp_path / "pneumonia.joblib").stat().st_size < 1_000_000


def test_files_that_the_readme_names_exist(readme):
    named = re.findall(r"\]\(([^)#:]+)\)", readme) + re.findall(r"(?:examples|tests|docs)/\w+\.py", readme)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_there_is_one_command_for_the_main_job_and_one_for_the_tests(readme):
    for mark in ("quickstart", "tests"):
        assert re.search(rf"<!-- {mark} -->\n```bash\n[^\n]+\n```\n", readme), mark
