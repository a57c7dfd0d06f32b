import numpy as np
import pandas as pd
import pytest

from metrics.conftest import METRICS, VALID
from skpneumo.metrics import (
    diagnostic_report,
)


def test_order_and_container_do_not_change_the_metrics(study):
    y, p, patient = study
    expected = diagnostic_report(y, p, threshold=0.5, groups=patient)
    order = np.random.RandomState(1).permutation(len(y))
    frame = pd.DataFrame({"y": y, "p": p, "patient": [f"patient {k:03}" for k in patient]}).iloc[order]
    shuffled = diagnostic_report(frame.y, frame.p, threshold=0.5, groups=frame.patient)
    labels = np.array(["normal", "bacterial"])[y]
    columns = np.column_stack([p, 1 - p])  # "bacterial" sorts before "normal"
    renamed = diagnostic_report(labels, columns, threshold=0.5, groups=patient, pos_label="bacterial")
    for name in METRICS:
        assert shuffled[name][:3] == pytest.approx(expected[name][:3]), name
        assert renamed[name][:3] == pytest.approx(expected[name][:3]), name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y_proba": [0.1, np.nan, -0.2, 0.8]}, r"2 of 4 are not: \[1\] nan, \[2\] -0.2"),
        ({"y_proba": [0.1, 1.5, 0.2, np.inf]}, r"\[1\] 1.5, \[3\] inf"),
        ({"y_proba": [[0.5, 0.5], [0.5, 0.6], [1, 0], [0.2, 0.2]]}, r"\[1\] \[0.5, 0.6\], \[3\] \[0.2, 0.2\]"),
        ({"y_proba": np.full((4, 3), 1 / 3)}, r"got \(4, 3\)"),
        ({"y_proba": ["a", "b", "c", "d"]}, "numbers between 0 and 1"),
        ({"y_proba": [0.1, 0.9]}, "inconsistent numbers of samples"),
        ({"y_true": [0, np.nan, np.nan, 1.0]}, r"\[1\] nan, \[2\] nan"),
        ({"y_true": [0, 0, 0, 0]}, "both classes, positive and negative; got the labels"),
        ({"y_true": [0, 1, 2, 1], "pos_label": 1}, "one with the rest"),
        ({"y_true": ["a", "b", "a", "b"]}, "pos_label is not specified"),
        ({"y_true": ["a", "b", "a", "b"], "pos_label": "c"}, r"one of the labels in y_true, \['a', 'b'\]; got 'c'"),
        ({"groups": [1, 2, 3]}, r"one patient per image \(4\); got 3"),
        ({"groups": ["p", None, "q", None]}, r"\[1\] None, \[3\] None"),
        (
            {"threshold": 1.1},
            r"'threshold' .* must be a float in the range \[0.0, 1.0\]. Got 1.1",
        ),
        ({"threshold": np.nan}, "threshold"),
        ({"threshold": True}, "threshold"),
        (
            {"confidence": 95},
            r"'confidence' .* must be a float in the range \(0.0, 1.0\). Got 95",
        ),
        ({"prevalence": 0}, "prevalence"),
        ({"n_bootstrap": 0}, "n_bootstrap"),
    ],
)
def test_invalid_input_raises_and_lists_the_invalid_items(wrong, message):
    with pytest.raises(ValueError, match=message):
        diagnostic_report(**{**VALID, **wrong})


def test_groups_may_mix_strings_and_numbers():
    mixed, plain = (
        diagnostic_report([0, 1, 0, 1, 1, 0], [0.1, 0.8, 0.6, 0.4, 0.9, 0.2], threshold=0.5, groups=groups)
        for groups in (np.array(["a", 1, "a", 1, 2, 3], object), [0, 1, 0, 1, 2, 3])
    )
    assert mixed["sensitivity"] == plain["sensitivity"]
    assert mixed.n_patients == 4


def test_empty_input_raises():
    with pytest.raises(ValueError, match=r"y_true .*; it is empty"):
        diagnostic_report([], [], threshold=0.5)
