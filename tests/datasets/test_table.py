import pickle
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import load_chest_xrays, load_xray_table, make_chest_xrays
from skpneumo.exceptions import LabelTableError

GUIDE = Path(__file__).parents[2] / "docs" / "user_guide" / "data.rst"
PNG = b"\x89PNG\r\n\x1a\n"


def write(root, *names, data=PNG):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def rows(bunch):
    """Return the label and the patient of each image by file name."""
    names = [Path(path).name for path in bunch.data[:, 0]]
    labels = [bunch.target_names[code] for code in bunch.target]
    return {name: row for name, *row in zip(names, labels, bunch.groups.tolist(), strict=True)}


NIH = """\
Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],\
OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly|Pneumonia,0,1,58,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Pneumonia,1,1,58,M,AP,2894,2729,0.143,0.143,
00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,
"""


def test_nih_table_reads_findings_patients_and_nested_folders(tmp_path):
    write(tmp_path, "images_001/images/00000001_000.png", "images_001/images/00000001_001.png")
    write(tmp_path, "images_002/images/00000002_000.png")
    table = csv(tmp_path / "Data_Entry_2017.csv", NIH)
    bunch = load_xray_table(table, positive="Pneumonia", shuffle=False)
    assert bunch.data[0, 0] == str(tmp_path / "images_001" / "images" / "00000001_000.png")
    assert bunch.target.tolist() == [1, 1, 0]
    assert bunch.target_names == ["no Pneumonia", "Pneumonia"]
    assert bunch.groups.tolist() == ["1", "1", "2"]
    frontal = load_xray_table(table, positive=["Cardiomegaly", "Pneumonia"], view="frontal")
    assert frontal.target_names == ["no Cardiomegaly or Pneumonia", "Cardiomegaly or Pneumonia"]
    with pytest.raises(ValueError, match=r"several findings .*\['Cardiomegaly', 'No Finding', 'Pneumonia'\]"):
        load_xray_table(table)
    with pytest.raises(ValueError, match=r"\['pneumonia'\] in positive .*Found: \['Cardiomegaly', "):
        load_xray_table(table, positive="pneumonia")


RSNA = """\
patientId,x,y,width,height,Target
0004cfab-14fd-4e49-80ba-63a80b6bddd6,,,,,0
00436515-870c-4b36-a041-de91049b9ab4,264.0,152.0,213.0,379.0,1
00436515-870c-4b36-a041-de91049b9ab4,562.0,152.0,256.0,453.0,1
"""


def test_rsna_table_has_a_row_for_each_box_and_names_without_extension(tmp_path):
    names = [line.split(",")[0] for line in RSNA.splitlines()[1:3]]
    write(tmp_path / "images", *(f"{name}.png" for name in names))
    bunch = load_xray_table(csv(tmp_path / "stage_2_train_labels.csv", RSNA), tmp_path / "images")
    assert rows(bunch) == {f"{names[0]}.png": ["no Pneumonia", names[0]], f"{names[1]}.png": ["Pneumonia", names[1]]}
    classes = pd.DataFrame({"patientId": names + names[1:], "class": ["Normal", "Lung Opacity", "Lung Opacity"]})
    assert load_xray_table(classes, tmp_path).target_names == ["Lung Opacity", "Normal"]


CHEXPERT = """\
Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,\
Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices
CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0
CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,-1.0,,,,,1.0,
CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Female,83,Frontal,AP,,,,1.0,,,-1.0,1.0,,,,,,
CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,1.0,,,,,,
CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,Male,41,Frontal,AP,,,,,,1.0,,0.0,,,,,,
"""


@pytest.mark.parametrize(
    ("uncertain", "blank", "expected"),
    [
        ("positive", "negative", [0, 1, 1, 0]),
        ("negative", "positive", [1, 0, 1, 0]),
        ("drop", "negative", [0, 1, 0]),
        ("drop", "drop", [1, 0]),
    ],
)
def test_chexpert_table_needs_policies_for_uncertain_and_blank_labels(tmp_path, uncertain, blank, expected):
    table = csv(tmp_path / "train.csv", CHEXPERT)
    write(tmp_path, *(line.split(",")[0].partition("/")[2] for line in CHEXPERT.splitlines()[1:]))
    with pytest.raises(LabelTableError) as caught:
        load_xray_table(table, positive="Pneumonia", view="frontal")
    assert caught.value.problems[["problem", "row"]].values.tolist() == [["missing label", 0], ["uncertain label", 1]]
    options = {"uncertain": uncertain, "blank": blank, "view": "frontal", "shuffle": False}
    bunch = load_xray_table(table, positive="Pneumonia", **options)
    assert bunch.target.tolist() == expected
    assert set(bunch.groups) <= {"patient00001", "patient00002", "patient00003"}
    assert len(bunch.dropped) == 5 - len(expected)


METADATA = """\
dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns
02aa804e-bde0afdd,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544
174413ec-4ec4c1f7,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544
2a2277a9-b0ded155,10000032,53189527,CHEST (PA AND LAT),PA,3056,2544
"""
STUDIES = """\
subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,\
Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices
10000032,50414267,,,,,,,,,,,,1.0,,
10000032,53189527,,,,,,,,,1.0,,,0.0,,
"""


def test_mimic_tables_of_images_and_studies_are_joined(tmp_path):
    folder = tmp_path / "files" / "p10" / "p10000032"
    write(folder, "s50414267/02aa804e-bde0afdd.jpg", "s50414267/174413ec-4ec4c1f7.jpg")
    write(folder, "s53189527/2a2277a9-b0ded155.jpg")
    metadata, studies = csv(tmp_path / "metadata.csv", METADATA), csv(tmp_path / "chexpert.csv", STUDIES)
    bunch = load_xray_table([metadata, studies], positive="Pneumonia", view="frontal")
    assert rows(bunch) == {
        "02aa804e-bde0afdd.jpg": ["Pneumonia", "10000032"],
        "2a2277a9-b0ded155.jpg": ["no Pneumonia", "10000032"],
    }
    csv(studies, "\n".join(STUDIES.splitlines()[:2]))
    with pytest.raises(LabelTableError, match=r"missing row +1  row 2 '2a2277a9-b0ded155' \(in a joined table\)"):
        load_xray_table([metadata, studies], positive="Pneumonia", blank="negative")


VINDR = """\
image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
50a418190bc3fb1ef1633bf9678929b3,No finding,14,R11,,,,
50a418190bc3fb1ef1633bf9678929b3,No finding,14,R15,,,,
9a5094b2563a1ef3ff50dc5c7ff71345,Consolidation,4,R10,691,1375,1653,1831
9a5094b2563a1ef3ff50dc5c7ff71345,Pleural effusion,10,R10,1789,1729,1875,1992
9a5094b2563a1ef3ff50dc5c7ff71345,Consolidation,4,R9,691,1375,1653,1831
051132a778e61a86eb147c7c6f564dfe,Infiltration,6,R10,1264,743,1611,1019
051132a778e61a86eb147c7c6f564dfe,Consolidation,4,R9,1264,743,1611,1019
"""


@pytest.mark.parametrize(
    ("uncertain", "expected"), [("positive", [0, 1, 1]), ("negative", [0, 1, 0]), ("drop", [0, 1])]
)
def test_vindr_table_combines_findings_and_compares_readers(tmp_path, uncertain, expected):
    table = csv(tmp_path / "train.csv", VINDR)
    write(tmp_path / "train", *(f"{line.split(',')[0]}.png" for line in VINDR.splitlines()[1:]))
    with pytest.raises(LabelTableError, match="uncertain label +2  row 5 '051132a778e61a86eb147c7c6f564dfe' .readers"):
        load_xray_table(table, positive="Consolidation")
    bunch = load_xray_table(table, positive="Consolidation", uncertain=uncertain, shuffle=False)
    assert bunch.target.tolist() == expected
    agreed = load_xray_table(table, positive=["Consolidation", "Infiltration"], shuffle=False)
    assert agreed.target.tolist() == [0, 1, 1]


def test_vindr_labels_of_images_are_read(tmp_path):
    write(tmp_path, "a.png", "b.png")
    table = pd.DataFrame(
        {
            "image_id": ["a", "a", "b"],
            "rad_id": ["R1", "R2", "R1"],
            "Consolidation": [0, 0, 0],
            "Pneumonia": [1, 1, 0],
            "No finding": [0, 0, 1],
        }
    )
    bunch = load_xray_table(table, tmp_path, positive="Pneumonia", shuffle=False)
    assert bunch.target.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"Pass .* \['Consolidation', 'Pneumonia', 'No finding'\]"):
        load_xray_table(table, tmp_path)


def test_covid_sheets_are_appended_and_classes_read_from_names(tmp_path):
    write(tmp_path / "COVID", "images/COVID-1.png", "masks/COVID-1.png")
    write(tmp_path / "Normal", "images/Normal-1.png", "masks/Normal-1.png")
    header = "FILE NAME,FORMAT,SIZE,URL\n"
    sheets = [
        csv(tmp_path / "COVID.metadata.csv", f"{header}COVID-1,PNG,256*256,https://sirm.org/category/covid-19/\n"),
        csv(tmp_path / "Normal.metadata.csv", f"{header}NORMAL-1,PNG,256*256,https://www.kaggle.com/c/rsna\n"),
    ]
    bunch = load_xray_table(sheets, shuffle=False)
    assert bunch.target_names == ["COVID", "NORMAL"]
    assert [Path(path).parent.name for path in bunch.data[:, 0]] == ["images", "images"]
    assert bunch.groups.tolist() == bunch.data[:, 0].tolist()
