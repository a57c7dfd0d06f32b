"""DICOM files in models, searches and reports."""

import io
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import QUICK, TINY
from dicom_files import dicom
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import grad_cam
from skpneumo.metrics import DiagnosticReport
from skpneumo.model_selection import (
    PatientGroupKFold,
    check_splits,
    patient_ids,
    patient_train_test_split,
)
from skpneumo.reporting import model_card, report

IDENTITY = {
    "PatientName": "Zyxwvut^Quentin",
    "PatientID": "ZQ471108{:02}",
    "PatientBirthDate": "19330317",
    "AccessionNumber": "ACC99{:02}31",
    "StudyInstanceUID": "1.2.826.99471.{}",
    "InstitutionName": "Hospital Zyxw",
    "ReferringPhysicianName": "Vutsrq^Doctor",
}
SECRETS = [b"Zyxw", b"Quentin", b"ZQ4711", b"19330317", b"ACC99", b"99471", b"Vutsrq"]


@pytest.fixture
def files(paths, tmp_path):
    """Write the X-rays as DICOM files with identities, one patient for two images."""
    (tmp_path / "dicom").mkdir()
    copies = []
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L")).astype("u2") * 16
        header = {name: value.format(i // 2) for name, value in IDENTITY.items()}
        copies.append(tmp_path / "dicom" / f"image {i}")
        copies[-1].write_bytes(dicom(pixels, 12, **header))
    return [str(path) for path in copies]


def test_one_image_in_three_formats_has_equal_probabilities(paths, y, files):
    clf = PneumoniaClassifier(**QUICK, memory=None).fit(paths, y)
    png8, png16, dicoms = [], [], []
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L")).copy()
        pixels[0, 0] = 255  # the brightest pixel determines the scale of integers of more than 8 bits
        for copies, copy in ((png8, pixels), (png16, pixels.astype("u2") * 257)):
            file = io.BytesIO()
            Image.fromarray(copy).save(file, "PNG")
            copies.append(file.getvalue())
        dicoms.append(dicom(np.rint(pixels * (4095 / 255)).astype("u2"), 12))
    expected = clf.predict_proba(png8)
    np.testing.assert_allclose(clf.predict_proba(png16), expected, atol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(dicoms), expected, atol=1e-6)
    # Without the white pixel, the scale is the same unless an image is very dark.
    np.testing.assert_allclose(clf.predict_proba(files), clf.predict_proba(paths), atol=0.02)


def test_models_stores_reports_and_errors_hold_no_identity(files, y, tmp_path, caplog, capfd, pyplot):
    store = tmp_path / "store"
    with caplog.at_level(logging.DEBUG):
        clf = PneumoniaClassifier(**QUICK, memory=str(store), verbose=1).fit(files, y)
        evaluation = report(clf, files, y, tmp_path / "report.html", prevalence=0.1)
        model_card(clf, tmp_path / "MODEL_CARD.md", evaluation=evaluation)
        broken = tmp_path / "broken"
        broken.write_bytes(Path(files[0]).read_bytes()[:-100])
        with pytest.raises(ImageReadError, match="a damaged DICOM file") as caught:
            clf.predict([str(broken)])
        (tmp_path / "model.pickle").write_bytes(pickle.dumps(clf))
    outputs = "".join(capfd.readouterr()) + caplog.text + str(caught.value) + repr(evaluation) + repr(vars(clf))
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path / "dicom"]
    assert len(written) >= 5
    contents = {path.name: path.read_bytes() for path in written if path != broken} | {"outputs": outputs.encode()}
    contents["digests"] = repr([patient_ids(files), clf.seen_]).encode()
    for name, content in contents.items():
        assert not [secret for secret in SECRETS if secret in content], name


def test_equal_fits_give_equal_models(files, y):
    stops = {"early_stopping": True, "validation_fraction": 0.3, "random_state": 0, "hidden_layer_sizes": (4,)}
    stops |= {"max_iter": 5}
    first, second = (PneumoniaClassifier(**QUICK, **stops, memory=None).fit(files, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(files), second.predict_proba(files))


def test_splits_keep_patients_apart(files, y):
    patients = patient_ids(files)
    assert len(set(patients)) == len(files) / 2
    for train, test in PatientGroupKFold(3).split(files, y):
        assert not set(patients[train]) & set(patients[test])
    X_train, X_test, *_ = patient_train_test_split(files, y, random_state=0)
    assert not set(patient_ids(X_train)) & set(patient_ids(X_test))
    shared = check_splits(files[:3], files[3:])
    assert [(each.kind, each.train, each.test) for each in shared] == [("shared patient", files[2], files[3])]


def test_folds_do_not_depend_on_the_salt(files, y, monkeypatch):
    folds = [[test.tolist() for _, test in PatientGroupKFold(4).split(files, y)]]
    for salt in (b"a" * 32, b"b" * 32, b"c" * 32):
        monkeypatch.setattr("skpneumo._images.dicom_patients._SALT", salt)
        folds.append([test.tolist() for _, test in PatientGroupKFold(4).split(files, y)])
    assert folds[1:] == folds[:1] * 3


def test_intervals_are_clustered_by_patient(files, y):
    clf = PneumoniaClassifier(**QUICK).fit(files, y)
    performance = DiagnosticReport.from_estimator(clf, files, y)
    assert performance.n_patients == len(files) / 2


def test_features_heat_maps_and_bytes(files, y):
    features = VGG19Features(**TINY).fit_transform(files)
    data = [Path(path).read_bytes() for path in files]
    np.testing.assert_array_equal(VGG19Features(**TINY).fit_transform(data), features)
    clf = PneumoniaClassifier(**QUICK).fit(data, y)
    heat = grad_cam(clf, files[:2])
    assert len(heat) == 2
