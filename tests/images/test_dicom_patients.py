"""Patients and studies in DICOM headers."""

import os
import subprocess
import sys

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_files import dicom
from skpneumo._images.dicom_patients import identifiers, reproducible
from skpneumo._images.groups import patients_by_name
from skpneumo._images.inputs import as_images

PIXELS = np.arange(64, dtype="u1").reshape(8, 8)


def ids(salt="salt", **elements):
    (image,) = as_images([dicom(PIXELS, **elements)])
    return identifiers(image, salt)


def test_equal_identifiers_have_equal_digests():
    first = ids(PatientID="P1", StudyInstanceUID="1.2.3")
    assert ids(PatientID="P1 ", StudyInstanceUID="1.2.3", PatientName="A^B") == first
    assert ids(PatientID="P1", StudyInstanceUID="1.2.4").patient == first.patient
    assert ids(PatientID="P1", StudyInstanceUID="1.2.4").study != first.study
    assert ids(PatientID="P2", StudyInstanceUID="1.2.3").patient != first.patient
    assert ids(PatientID="P1", IssuerOfPatientID="clinic").patient != first.patient


def test_study_stands_for_a_missing_patient():
    assert ids(PatientID="", StudyInstanceUID="1.2.3") == (ids(StudyInstanceUID="1.2.3").study,) * 2
    assert ids() == (None, None)


def test_digests_depend_on_the_salt():
    assert ids("a", PatientID="P1") == ids(b"a", PatientID="P1")
    assert ids("a", PatientID="P1") != ids("b", PatientID="P1")
    assert ids("x" * 1000, PatientID="P1") != ids(None, PatientID="P1") == ids(None, PatientID="P1")


def test_default_salt_differs_between_processes(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(dicom(PIXELS, PatientID="P1"))
    code = "import sys; from skpneumo._images.dicom_patients import identifiers as ids; print(ids(sys.argv[1]).patient)"
    command = [sys.executable, "-c", code, str(path)]
    found = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(found) == 2


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.keyword
)
def test_identifiers_of_every_encoding(syntax):
    elements = {"PatientID": "P1", "StudyInstanceUID": "1.2.3"}
    assert ids(syntax=syntax, **elements) == ids(**elements)


def test_only_the_beginning_of_a_file_is_needed():
    data = dicom(PIXELS, PatientID="P1", StudyInstanceUID="1.2.3")
    end = data.rindex(b"1.2.3\0") + 6
    assert identifiers(as_images([data[:end]])[0], "salt") == ids(PatientID="P1", StudyInstanceUID="1.2.3")


@pytest.mark.parametrize("content", [b"", b"text", bytes(128) + b"DICM", bytes(128) + b"DICM" + b"x" * 300, None])
def test_other_files_have_no_identifiers(content, tmp_path):
    path = tmp_path / "image.dcm"
    if content is not None:
        path.write_bytes(content)
    assert identifiers(str(path)) is None
    assert identifiers("memory://image.dcm") is None


def test_default_groups_join_images_of_a_patient(tmp_path):
    paths = []
    for i, patient in enumerate(["P2", "P1", "P2", "", ""]):
        paths.append(str(tmp_path / f"{i}.dcm"))
        (tmp_path / f"{i}.dcm").write_bytes(dicom(PIXELS, PatientID=patient))
    groups = patients_by_name(as_images([*paths, "person1_virus_2.dcm", "missing.dcm"]))
    expected = [*(ids(None, PatientID=patient).patient for patient in ("P2", "P1", "P2")), *paths[3:]]
    assert groups.tolist() == [*expected, "person1_virus", os.path.abspath("missing.dcm")]


def test_only_digests_are_renamed():
    assert reproducible(["b", "dicom-f", "dicom-a", "dicom-f"]).tolist() == [
        "b",
        "dicom-000000000",
        "dicom-000000001",
        "dicom-000000000",
    ]
