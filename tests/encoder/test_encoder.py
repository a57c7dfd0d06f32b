from collections import Counter

import numpy as np
import pytest

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._encoder import extract
from skpneumo._encoder.encoder import Encoder
from skpneumo._images import inputs, sources
from skpneumo.reporting import report

STOPS = {"early_stopping": True, "hidden_layer_sizes": (4,), "max_iter": 2, "validation_fraction": 0.3}


@pytest.fixture
def count(monkeypatch, settled):
    """Count how often files are read, bytes are hashed and containers are parsed."""
    counts = Counter()

    def counted(name, function):
        return lambda *given: (counts.update([name]), function(*given))[1]

    monkeypatch.setattr(sources, "_read_named", counted("reads", sources._read_named))
    hashed = counted("hashes", sources.digest)
    monkeypatch.setattr(extract, "digest", hashed)
    read = sources.read_content
    monkeypatch.setattr(extract, "read_content", lambda *given: (counts.update(["hashes"]), read(*given))[1])
    monkeypatch.setattr(inputs, "_column", counted("parses", inputs._column))
    return counts


@pytest.mark.parametrize("memory", [None, "store"])
@pytest.mark.parametrize("parameters", [{}, STOPS, {"n_trainable_layers": 1, "tune_max_iter": 1}, {"n_views": 3}])
def test_fit_parses_reads_and_hashes_each_image_once(paths, y, count, tmp_path, memory, parameters):
    memory = memory and tmp_path / memory
    PneumoniaClassifier(**QUICK | parameters, memory=memory, random_state=0).fit(paths, y)
    assert count == {"reads": 40, "hashes": 40, "parses": 1}


def test_fit_with_early_stopping_on_stored_features_reads_no_file(paths, y, count, tmp_path):
    clf = PneumoniaClassifier(**QUICK, **STOPS, memory=tmp_path, random_state=0).fit(paths, y)
    count.clear()
    clf.fit(paths, y)
    assert count == {"parses": 1}


@pytest.mark.parametrize("memory", [None, "store"])
@pytest.mark.parametrize("method", ["predict", "score", "novelty"])
def test_prediction_methods_parse_read_and_hash_each_image_once(paths, y, count, tmp_path, memory, method):
    clf = PneumoniaClassifier(**QUICK, memory=None).fit(paths, y)
    clf.set_params(memory=memory and tmp_path / memory)
    count.clear()
    getattr(clf, method)(*(paths, y) if method == "score" else (paths,))
    assert count == {"reads": 40, "hashes": 40, "parses": 1}


def test_report_reads_and_hashes_each_image_once(paths, y, count, tmp_path):
    clf = PneumoniaClassifier(**QUICK, memory=None).fit(paths, y)
    count.clear()
    report(clf, paths, y, tmp_path / "report.html", n_errors=0)
    assert (count["reads"], count["hashes"]) == (40, 40)


def test_bytes_that_do_not_fit_in_memory_are_read_again(paths, count, monkeypatch):
    expected = VGG19Features(**TINY, memory=None).fit_transform(paths)
    count.clear()
    monkeypatch.setattr(sources.Reads.__init__, "__defaults__", (0,))
    np.testing.assert_array_equal(VGG19Features(**TINY, memory=None).fit_transform(paths), expected)
    assert count["reads"] == 80


def test_duplicate_image_is_read_once(paths, count):
    VGG19Features(**TINY, memory=None).fit_transform([*paths, *paths])
    assert count["reads"] == 40


def test_both_estimators_create_the_same_encoder():
    clf, features = PneumoniaClassifier(**QUICK, memory=None), VGG19Features(**TINY, memory=None)
    assert Encoder.from_params(clf.get_params(), "PneumoniaClassifier") == clf._encoder() == features._encoder()
