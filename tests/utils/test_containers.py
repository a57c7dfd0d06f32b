from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skpneumo._utils.containers import advice_for

CONTAINERS = [["a"], ("a",), np.array(["a"]), pd.Series(["a"]), pd.DataFrame({"a": [1]}), range(3)]


@pytest.mark.parametrize("X", CONTAINERS, ids=lambda X: type(X).__name__)
def test_no_advice_for_containers(X):
    assert advice_for(X) is None


folder = SimpleNamespace(imgs=[("a.png", 0)], targets=[0])  # as torchvision's ImageFolder


@pytest.mark.parametrize(
    ("X", "advice"),
    [
        (folder, "Pass [path for path, _ in X.imgs], with the labels X.targets."),
        (
            SimpleNamespace(dataset=folder),
            "Pass [path for path, _ in X.dataset.imgs], with the labels X.dataset.targets.",
        ),
        (SimpleNamespace(dataset=["a.png"]), "Pass the images of X.dataset."),
        (iter(["a.png"]), "Pass list(X) if it ends."),
        ({"a.png"}, "Pass a list of the images or of their paths, without labels and not in batches."),
        (None, ""),
    ],
)
def test_advice_depends_on_the_kind_of_object(X, advice):
    assert advice_for(X) == advice
