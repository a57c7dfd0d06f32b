"""Lists of DICOM files."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from dicom_files import dataset, dicom, encode
from skpneumo import VGG19Features
from skpneumo.datasets import audit_xrays, load_chest_xrays, load_dicom, make_chest_xrays
from skpneumo.model_selection import patient_ids

PIXELS = np.random.RandomState(0).randint(0, 256, (128, 128)).astype("u1")
DIRECTORY = Path(get_testdata_file("DICOMDIR", download=False))


def report():
    ds = dataset(PIXELS)
    del ds.PixelData
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    return encode(ds)


FILES = {
    "a/1": dicom(PIXELS, PatientID="P1", StudyInstanceUID="1.2.1"),
    "a/2.dcm": dicom(PIXELS, PatientID="P1", StudyInstanceUID="1.2.2"),
    "b/c/3": dicom(PIXELS, PatientID="P2", StudyInstanceUID="1.2.3"),
    "b/4": dicom(PIXELS),
    "report": report(),
    "README.txt": b"some notes",
    ".hidden": dicom(PIXELS),
}


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "images"


@pytest.fixture
def archive(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for name in FILES:
            file.write(folder / name, name)
    return tmp_path / "images.zip"


def check(xrays, folder):
    names = [Path(path).relative_to(folder).as_posix() for path in xrays.data[:, 0]]
    assert names == ["a/1", "a/2.dcm", "b/4", "b/c/3"]
    groups, studies = xrays.groups.tolist(), xrays.studies.tolist()
    assert groups[0] == groups[1] != groups[3]
    assert len(set(studies)) == 4
    assert groups[2] == studies[2] == str(folder / "b/4")
    assert "P1" not in str(groups + studies)
    assert "1.2.1" not in str(groups + studies)


def test_folder_is_searched_for_images(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    xrays = load_dicom("images")
    check(xrays, folder)
    assert xrays.skipped == {
        str(folder / "README.txt"): "not a DICOM file",
        str(folder / "report"): "a DICOM object without an image: Basic Text SR Storage",
    }


def test_archive_is_extracted(archive, tmp_path):
    xrays = load_dicom(archive, extract_to=tmp_path / "out")
    check(xrays, tmp_path / "out")
    assert sorted(xrays.skipped.values()) == [
        "a DICOM object without an image: Basic Text SR Storage",
        "not a DICOM file",
    ]
    assert not (tmp_path / "out/README.txt").exists()
    with pytest.raises(FileExistsError, match="is not empty"):
        load_dicom(archive, extract_to=tmp_path / "out")
    with pytest.raises(ValueError, match="pass extract_to"):
        load_dicom(archive)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_archive_with_files_outside_the_folder_raises(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("good", FILES["a/1"])
        file.writestr(name, FILES["a/1"])
    with pytest.raises(ValueError, match=r"1 files that would be written outside extract_to: .*evil"):
        load_dicom(tmp_path / "evil.zip", extract_to=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


def test_damaged_archives_raise(archive, tmp_path):
    data = bytearray(archive.read_bytes())
    data[400] ^= 1
    archive.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        load_dicom(archive, extract_to=tmp_path / "out")


def test_archive_with_one_name_twice_raises(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as file:
        file.writestr("a", FILES["a/1"])
        file.writestr("A", FILES["a/2.dcm"])
    with pytest.raises(ValueError, match="several files of one name"):
        load_dicom(tmp_path / "two.zip", extract_to=tmp_path / "out")


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset"])
def test_directory_lists_files(name):
    xrays = load_dicom(DIRECTORY.parent / name)
    assert xrays.data.shape == (31, 1)
    assert all(Path(path).is_file() for path in xrays.data[:, 0])
    assert (len(set(xrays.groups)), len(set(xrays.studies))) == (2, 6)
    assert not xrays.skipped


def test_directory_finds_files_in_lower_case_and_raises_on_missing_ones(tmp_path):
    (tmp_path / "DICOMDIR").write_bytes(DIRECTORY.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"lists 31 files that do not exist beside it: 77654033/CR1/6154"):
        load_dicom(tmp_path / "DICOMDIR")
    for path in load_dicom(DIRECTORY).data[:, 0]:
        copy = tmp_path / str(Path(path).relative_to(DIRECTORY.parent)).lower()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(path).read_bytes())
    assert load_dicom(tmp_path / "DICOMDIR").data.shape == (31, 1)


def test_directory_cannot_list_files_outside_its_folder(tmp_path):
    (tmp_path / "77654033").write_bytes(FILES["a/1"])
    (tmp_path / "disk").mkdir()
    data = DIRECTORY.read_bytes().replace(rb"77654033\CR1\6154", rb"..\77654033".ljust(17))
    (tmp_path / "disk/DICOMDIR").write_bytes(data)
    with pytest.raises(FileNotFoundError, match=r"\.\./77654033"):
        load_dicom(tmp_path / "disk/DICOMDIR")


def test_wrong_paths_raise(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_dicom(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"Expected a folder, a DICOMDIR or a ZIP archive; .* is another file"):
        load_dicom(folder / "a/1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Found no DICOM image in .*empty'\.$"):
        load_dicom(tmp_path / "empty")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"path": None}, r"path must be a path \(str or pathlib\.Path\); got None"),
        ({"path": b"folder"}, "path must be a path .* got b'folder'"),
        ({"salt": 5}, "salt must be str, bytes or None; got 5"),
    ],
)
def test_parameters_of_another_type_raise(folder, options, named):
    with pytest.raises(TypeError, match=named):
        load_dicom(**{"path": folder} | options)


def test_salt_gives_the_digests_of_patient_ids(folder):
    xrays = load_dicom(folder, salt="secret")
    rows = [0, 1, 3]
    assert patient_ids(xrays.data[rows], salt="secret").tolist() == xrays.groups[rows].tolist()
    assert patient_ids(xrays.data[rows]).tolist() == load_dicom(folder).groups[rows].tolist()
    assert not set(load_dicom(folder).groups[rows]) & set(xrays.groups[rows])


def test_without_pydicom_load_dicom_raises(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"pip install 'skpneumo\[dicom\]'"):
        load_dicom(folder)


def test_audit_reports_headers(tmp_path):
    headers = {
        "frontal": {"ViewPosition": "AP", "BodyPartExamined": "CHEST"},
        "chest pa": {"ViewPosition": "PA", "BodyPartExamined": "CHEST PA", "BurnedInAnnotation": "NO"},
        "left": {"ViewPosition": "LL"},
        "lateral": {"ViewPosition": "LATERAL", "BurnedInAnnotation": "YES"},
        "foot": {"BodyPartExamined": "FOOT"},
        "ct": {"Modality": "CT"},
        "raw": {"PresentationIntentType": "FOR PROCESSING"},
    }
    paths = []
    for i, (name, header) in enumerate(headers.items()):
        paths.append(str(tmp_path / name))
        Path(paths[-1]).write_bytes(dicom(np.roll(PIXELS, 17 * i), PatientID="P1", **header))
    report = audit_xrays([*paths, tmp_path / "missing"], [0, 1] * 4)
    findings = {row.check: row for row in report[report["kind"] == "finding"].itertuples()}
    found = {check: ([Path(path).name for path in row.images], row.verdict) for check, row in findings.items()}
    assert found["lateral view"] == (["left", "lateral"], "LATERAL, LL")
    assert found["other body part"] == (["foot"], "FOOT")
    assert found["other modality"] == (["ct"], "CT")
    assert found["burned-in annotation"] == (["lateral"], "BurnedInAnnotation YES")
    assert found["raw image"] == (["raw"], "PresentationIntentType FOR PROCESSING")
    assert found["patient with several labels"][0] == list(headers)
    attributes = report[report["kind"] == "attribute"].set_index("check")
    assert "view position: AP" in attributes.index
    assert attributes.loc["format", "verdict"] == "the same in all"


def test_audit_finds_that_the_format_reveals_the_label(tmp_path):
    from PIL import Image

    random = np.random.RandomState(0)
    paths = []
    for i in range(40):
        pixels = random.randint(0, 256, (128, 128)).astype("u1")
        paths.append(tmp_path / f"{i}")
        if i % 2:
            paths[-1].write_bytes(dicom(pixels, PatientID=str(i), ViewPosition="AP"))
        else:
            Image.fromarray(pixels).save(paths[-1], "PNG")
    report = audit_xrays(paths, [0, 1] * 20).set_index("check")
    assert report.loc["format: PNG", "verdict"] == "suspicious"
    assert report.loc["view position: AP", "verdict"] == "suspicious"


def test_class_folders_of_dicom_files_are_loaded(folder, tmp_path):
    root = tmp_path / "classes"
    root.mkdir()
    (folder / "a").rename(root / "NORMAL")
    (folder / "b").rename(root / "PNEUMONIA")
    (folder / "report").rename(root / "NORMAL" / "report")
    with pytest.warns(UserWarning, match=r"Basic Text SR Storage .*report"):
        xrays = load_chest_xrays(root, shuffle=False)
    assert xrays.target.tolist() == [0, 0, 1, 1]
    patients = xrays.groups.tolist()
    assert patients[0] == patients[1] != patients[3]
    assert patients[2] == str(root / "PNEUMONIA" / "4")
    assert xrays.skipped == {"a DICOM object without an image: Basic Text SR Storage": [str(root / "NORMAL/report")]}


def test_synthetic_dicom_files_equal_those_of_16_bits(tmp_path):
    settings = {"image_size": 48, "random_state": 0, "return_X_y": True}
    dicoms, _ = make_chest_xrays(8, tmp_path / "dicom", file_format="dicom", **settings)
    pngs, _ = make_chest_xrays(8, tmp_path / "png", file_format="png16", **settings)
    features = VGG19Features(weights=None, n_layers=2, image_size=32, memory=None)
    first, second = features.fit_transform(dicoms), features.fit_transform(pngs)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.999
    assert len(set(load_dicom(tmp_path / "dicom").groups)) == len(set(patient_ids(dicoms)))
