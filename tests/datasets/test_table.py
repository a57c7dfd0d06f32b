import contextlib
import io
import pickle
import re
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

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
    with pytest.raises(
        LabelTableError, match=r"uncertain label +2  row 5 '051132a778e61a86eb147c7c6f564dfe' \(readers"
    ):
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


COLUMNS = {"image_column": "file", "label_column": "label", "patient_column": "patient"}


@pytest.fixture
def table(tmp_path):
    """Make a table of four images of three patients, and their files."""
    write(tmp_path, "a.png", "north/b.png", "north/c.png", "south/d.png")
    files, labels = ["a.png", "north/b.png", "c.png", "d"], ["normal", "pneumonia", "pneumonia", "normal"]
    return pd.DataFrame({"file": files, "label": labels, "patient": ["007", "8", "8", "x9"]})


DIRTY = """\
file,Pneumonia,patient
a.png,1,p1
b.png,0,p2
c.png,1,p3
d.png,1,p4
e.png,0,p5
f.png,,p6
g.png,-1,p7
b.png,0,p2
h.png,1,p8
h.png,0,p8
,1,p9
i.png,2,
j.png,0,p10
j.png,0,p11
"""

DIRTY_REPORT = """\
The table of 14 rows has 13 problems:

  missing label             1  row 5 'f.png' (blank)
  uncertain label           1  row 6 'g.png' (-1)
  invalid label             1  row 11 'i.png' (2)
  missing file              1  row 2 'c.png'
  ambiguous name            1  row 3 'd.png' (north/d.png, south/d.png)
  unreadable file           1  row 4 'e.png' (empty file)
  missing name              1  row 10
  missing patient           1  row 11 'i.png'
  repeated row              1  row 7 'b.png' (same image as row 1)
  conflicting labels        2  row 8 'h.png' (1), row 9 'h.png' (0)
  conflicting patients      2  row 12 'j.png' (p10), row 13 'j.png' (p11)

Fix the table, or drop the images concerned with on_error='drop'.
The parameters blank and uncertain set how to treat missing and uncertain labels.
In files, words such as NA and None count as missing.
Labels are words or whole numbers; in the column of a finding, 1, 0, -1 (uncertain) or blank. Pass a column of words \
as label_column, and one of its words as positive.
The attribute 'problems' of this error lists all problems."""


@pytest.fixture
def dirty(tmp_path):
    """Make a table with problems of every kind; only a.png and b.png have none."""
    write(tmp_path, "north/d.png", "south/d.png", *(f"{name}.png" for name in "abfghij"))
    write(tmp_path, "e.png", data=b"")
    return csv(tmp_path / "dirty.csv", DIRTY)


DIRTY_OPTIONS = {"positive": "Pneumonia", "image_column": "file", "patient_column": "patient"}


def test_one_error_lists_all_problems_of_a_table(dirty):
    with pytest.raises(LabelTableError) as caught:
        load_xray_table(dirty, **DIRTY_OPTIONS)
    assert str(caught.value).replace("\\", "/") == DIRTY_REPORT
    assert list(caught.value.problems) == ["problem", "row", "image", "detail"]
    assert sorted(caught.value.problems["row"]) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 13]
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.problems.equals(caught.value.problems)


def test_error_shows_ten_rows_of_a_kind_and_lists_all(tmp_path):
    names = [f"{i}.png" for i in range(25)]
    lost = pd.DataFrame({"file": names, "label": ["pneumonia"] * 25})
    with pytest.raises(LabelTableError, match=r"missing file +25  row 0 .* row 9 '9.png' and 15 more") as caught:
        load_xray_table(lost, tmp_path, image_column="file", label_column="label")
    assert caught.value.problems["image"].tolist() == names


def test_on_error_drop_warns_and_lists_dropped_rows(dirty):
    with pytest.warns(UserWarning, match=r"1 missing label, 1 invalid label, 1 missing file.* 2 of 14 rows are left"):
        bunch = load_xray_table(dirty, **DIRTY_OPTIONS, on_error="drop", uncertain="drop")
    assert rows(bunch) == {"a.png": ["Pneumonia", "p1"], "b.png": ["no Pneumonia", "p2"]}
    assert set(bunch.dropped["row"]) == {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
    assert "1 uncertain label, 1 missing label" in bunch.DESCR


def test_a_problem_in_one_row_drops_the_image(tmp_path):
    write(tmp_path, "a.png", "b.png")
    boxes = pd.DataFrame({"patientId": ["a", "a", "b"], "Target": [1, None, 0]})
    with pytest.warns(UserWarning, match="1 missing label"):
        bunch = load_xray_table(boxes, tmp_path, on_error="drop")
    assert list(rows(bunch)) == ["b.png"]


def test_missing_columns_raise_with_all_other_problems(dirty):
    options = {**DIRTY_OPTIONS, "patient_column": "Patient ID", "view": "frontal", "view_column": "View"}
    for on_error in ("raise", "drop"):
        with pytest.raises(
            LabelTableError, match=r"missing column +2  'View', 'Patient ID'\n.*missing label"
        ) as caught:
            load_xray_table(dirty, **options, on_error=on_error)
        assert "pass the names of its columns: file, Pneumonia, patient." in str(caught.value)
        assert caught.value.problems["row"].isna().sum() == 2
    with pytest.raises(LabelTableError, match=r"missing column +3  view_column, .*, 'finding', 'name'"):
        load_xray_table(dirty, view="frontal", image_column="name", label_column="finding")


def test_labels_are_classes_and_patients_are_text(table, tmp_path):
    bunch = load_xray_table(table, tmp_path, **COLUMNS, shuffle=False)
    assert bunch.data[:, 0].tolist() == [
        str(tmp_path / name) for name in ("a.png", "north/b.png", "north/c.png", "south/d.png")
    ]
    assert bunch.data.shape == (4, 1)
    assert (bunch.target.tolist(), bunch.target_names) == ([0, 1, 1, 0], ["normal", "pneumonia"])
    assert bunch.groups.tolist() == ["007", "8", "8", "x9"]
    assert bunch.frame is None
    chosen = load_xray_table(table, tmp_path, **COLUMNS, positive="normal", shuffle=False)
    assert (chosen.target.tolist(), chosen.target_names) == ([1, 0, 0, 1], ["pneumonia", "normal"])


def test_numbers_are_sorted_by_value_and_whole_floats_become_integers(tmp_path):
    write(tmp_path, "a.png", "b.png", "c.png")
    numbers = pd.DataFrame({"file": ["a", "b", "c"], "label": [10, 2, 1], "patient": [7.0, 8.0, 7.0]})
    bunch = load_xray_table(numbers, tmp_path, **COLUMNS, shuffle=False)
    assert (bunch.target.tolist(), bunch.target_names) == ([2, 1, 0], ["1", "2", "10"])
    assert bunch.groups.tolist() == ["7", "8", "7"]


@pytest.mark.parametrize("states", [[0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0], [False, True, True, False], list("0110")])
def test_column_of_states_is_read_for_its_finding(table, tmp_path, states):
    table["Pneumonia"] = states
    for label in (None, "Pneumonia"):
        options = {**COLUMNS, "label_column": label, "positive": "Pneumonia"}
        assert load_xray_table(table, tmp_path, **options, shuffle=False).target.tolist() == [0, 1, 1, 0]


def test_patients_are_read_from_file_names_if_no_column_is_given(tmp_path):
    write(tmp_path, "person1_virus_6.jpeg", "person1_virus_7.jpeg", "scan.png")
    names = pd.DataFrame({"file": ["person1_virus_6.jpeg", "person1_virus_7.jpeg", "scan.png"], "label": [1, 1, 0]})
    bunch = load_xray_table(names, tmp_path, image_column="file", label_column="label", shuffle=False)
    assert bunch.groups.tolist() == ["person1_virus", "person1_virus", str(tmp_path / "scan.png")]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("x.png", "x.png"),
        ("x", "deep/down/x.jpeg"),
        ("1.2.840", "deep/1.2.840.png"),
        ("IM0001", "deep/IM0001"),
        ("X.PNG", "deep/x.png"),
        ("a/x.png", "top/a/x.png"),
        ("a\\x.png", "top/a/x.png"),
        ("top/a/x.png", "a/x.png"),
        ("{root}/x.png", "x.png"),
        ("{absolute}/deep/x.png", "deep/x.png"),
    ],
)
def test_file_is_found_by_name(tmp_path, name, file):
    root = write(tmp_path / "xrays", file, "b/x.txt", ".hidden.png")
    name = name.format(root=root.name, absolute=root)
    one = pd.DataFrame({"file": [name], "label": ["pneumonia"]})
    bunch = load_xray_table(one, root, image_column="file", label_column="label")
    assert bunch.data.tolist() == [[str(root / file)]]


@pytest.mark.parametrize("name", ["NORMAL/x.png", "x.jpeg", "PNEUMONIA", "y", "{absolute}/x.png", "\0"])
def test_file_of_another_folder_or_extension_is_not_taken(tmp_path, name):
    write(tmp_path, "PNEUMONIA/x.png")
    one = pd.DataFrame({"file": [name.format(absolute=tmp_path)], "label": ["pneumonia"]})
    with pytest.raises(LabelTableError, match="missing file"):
        load_xray_table(one, tmp_path, image_column="file", label_column="label")


def test_two_names_of_one_file_are_repeated_rows(table, tmp_path):
    table.loc[3] = ["north/c.png", "pneumonia", "8"]
    with pytest.raises(LabelTableError, match=r"repeated row +1  row 3 'north/c.png' \(same image as row 2\)"):
        load_xray_table(table, tmp_path, **COLUMNS)


@pytest.mark.parametrize(
    "name", ["labels.csv", "labels.tsv", "labels.csv.gz", "LABELS.CSV", "labels.parquet", "labels.xlsx"]
)
def test_table_is_read_from_a_file_beside_the_images(table, tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
        table.to_parquet(tmp_path / name)
    elif name.endswith("xlsx"):
        table.to_excel(tmp_path / name, index=False)
    else:
        table.to_csv(tmp_path / name, index=False, sep="\t" if "tsv" in name else ",", encoding="utf-8-sig")
    bunch = load_xray_table(str(tmp_path / name), **COLUMNS, shuffle=False)
    assert bunch.groups.tolist() == ["007", "8", "8", "x9"]


def test_options_of_load_chest_xrays_mean_the_same(tmp_path):
    drawn = make_chest_xrays(12, tmp_path, image_size=32, random_state=0, as_frame=True)
    listed = load_chest_xrays(tmp_path, shuffle=False, as_frame=True).frame
    columns = {"image_column": "path", "label_column": "diagnosis", "patient_column": "patient"}
    for options in ({}, {"random_state": 3}, {"shuffle": False}):
        table, folder = load_xray_table(listed, **columns, **options), load_chest_xrays(tmp_path, **options)
        assert [Path(path).name for path in table.data[:, 0]] == [Path(path).name for path in folder.data[:, 0]]
        assert table.target.tolist() == folder.target.tolist()
        assert table.target_names == folder.target_names
        assert table.groups.tolist() == folder.groups.tolist()
    X, y = load_xray_table(drawn.frame, **columns, return_X_y=True)
    assert (X.shape, y.shape) == ((12, 1), (12,))


def test_as_frame_returns_the_other_columns_of_the_table(table, tmp_path):
    table["age"] = [5, 3, 3, 2]
    bunch = load_xray_table(table, tmp_path, **COLUMNS, as_frame=True, random_state=1)
    assert list(bunch.frame) == ["path", "label", "patient", "file", "age"]
    assert list(bunch.data) == ["path"]
    assert bunch.target.tolist() == [bunch.target_names.index(label) for label in bunch.frame["label"]]
    assert dict(zip(bunch.frame["file"], bunch.frame["age"], strict=True)) == dict(
        zip(table["file"], table["age"], strict=True)
    )


def test_views_are_selected_and_unknown_ones_reported(table, tmp_path):
    table["view"] = ["PA", "lateral", "AP", "LAO"]
    options = {**COLUMNS, "view_column": "view", "shuffle": False}
    assert load_xray_table(table, tmp_path, **options, view="frontal").groups.tolist() == ["007", "8"]
    with pytest.warns(UserWarning, match=r"No image is left of the classes \['normal'\]"):
        lateral = load_xray_table(table, tmp_path, **options, view="lateral")
    assert lateral.groups.tolist() == ["8"]
    assert lateral.dropped[["problem", "detail"]].values.tolist() == [
        ["other view", view] for view in ("PA", "AP", "LAO")
    ]
    table["view"] = ["PA", None, "from above", "AP"]
    with pytest.raises(
        LabelTableError, match=r"missing view +1  row 1 .*\n +unknown view +1  row 2 'c.png' \(from above"
    ):
        load_xray_table(table, tmp_path, **options, view="frontal")
    table["view"] = "LL"
    with pytest.raises(ValueError, match="No image is left of 4 rows: 4 other view"):
        load_xray_table(table, tmp_path, **options, view="frontal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uncertain": "maybe"}, "'uncertain' .* among {'raise', 'drop', 'positive', 'negative'}. Got 'maybe'"),
        ({"view": "PA"}, "'view' .* must be a str among {'frontal', 'lateral'} or None. Got 'PA'"),
        ({"on_error": "ignore"}, "'on_error' .* must be a str among {'raise', 'drop'}. Got 'ignore'"),
        ({"blank": "negative"}, "only if positive is given"),
        ({"label_column": None}, "Pass label_column, or positive"),
        ({"image_column": None}, r"not those of a known data set: file, label, patient.*\n.*ChestX-ray14: Image Index"),
    ],
)
def test_invalid_options_raise(table, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_xray_table(table, tmp_path, **COLUMNS | options)


def test_invalid_tables_and_folders_raise(table, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_xray_table(table, tmp_path / "nowhere", **COLUMNS)
    with pytest.raises(NotADirectoryError, match=r"a\.png"):
        load_xray_table(table, tmp_path / "a.png", **COLUMNS)
    with pytest.raises(FileNotFoundError, match=r"lost\.csv"):
        load_xray_table(tmp_path / "lost.csv")
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        load_xray_table(tmp_path / "a.png")
    with pytest.raises(ValueError, match="repeated: label"):
        load_xray_table(table.rename(columns={"patient": " label"}), tmp_path, **COLUMNS)
    with pytest.raises(ValueError, match="No image is left of 0 rows: the table has no rows"):
        load_xray_table(table[:0], tmp_path, **COLUMNS)
    with pytest.raises(ValueError, match="got an empty list"):
        load_xray_table([], tmp_path, **COLUMNS)
    with pytest.raises(ValueError, match="Shared columns: none"):
        load_xray_table([table, pd.DataFrame({"age": [1]})], tmp_path, **COLUMNS)


def test_missing_pandas_raises(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="load_xray_table needs pandas"):
        load_xray_table(tmp_path / "labels.csv")


def test_example_of_the_user_guide_prints_what_it_shows(tmp_path, monkeypatch):
    page = GUIDE.read_text(encoding="utf-8")
    section = page[page.index("Load a table\n=") : page.index("Images and labels\n=")]
    blocks = re.findall(r"\.\. code-block:: (\w+)\n\n((?:   .*\n|\n)+)", section)
    shown = "".join(textwrap.dedent(text).strip() + "\n" for kind, text in blocks if kind == "text")
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec("".join(textwrap.dedent(text) for kind, text in blocks if kind == "python"), {})
    assert printed.getvalue() == shown


def test_pattern_finds_the_patient_in_the_path(tmp_path):
    drawn = make_chest_xrays(6, tmp_path, image_size=32, random_state=0, as_frame=True).frame
    options = {"image_column": "path", "label_column": "diagnosis", "shuffle": False}
    groups = load_xray_table(drawn, tmp_path, **options, pattern=r"(person\d+|IM-\d+)[^/]*$").groups
    expected = [re.search(r"person\d+|IM-\d+", Path(path).name)[0] for path in drawn["path"]]
    assert groups.tolist() == expected
    with pytest.raises(ValueError, match="finds no patient in"):
        load_xray_table(drawn, tmp_path, **options, pattern="(nobody)")
    with pytest.raises(ValueError, match="got both"):
        load_xray_table(drawn, tmp_path, **options, patient_column="patient", pattern="(IM)")


NAMED = {"image_column": "file", "label_column": "label", "shuffle": False}


def labeled(root, labels):
    """Make a table of images a.png, b.png and so on with these labels, and their files."""
    names = [f"{chr(97 + i)}.png" for i in range(len(labels))]
    write(root, *names)
    return pd.DataFrame({"file": names, "label": labels})


@pytest.mark.parametrize(
    ("labels", "alike"),
    [
        (["Pneumonia", "pneumonia", "Normal", "Normal"], "'Pneumonia' = 'pneumonia'"),
        (["NORMAL", "Pneumonia", "normal", "Normal"], "'NORMAL' = 'Normal' = 'normal'"),
        (["Pneumonia", "No Finding", "No  finding"], "'No  finding' = 'No Finding'"),
        (["1", "1.0", "0"], "'1' = '1.0'"),
    ],
)
@pytest.mark.parametrize("has_positive", [True, False])
def test_labels_that_differ_only_in_spelling_raise(tmp_path, labels, alike, has_positive):
    positive = labels[0] if has_positive else None
    with pytest.raises(ValueError, match=rf"'label' differ only in case.*: {alike}\. Use one spelling"):
        load_xray_table(labeled(tmp_path, labels), tmp_path, **NAMED, positive=positive)


def test_spaces_around_labels_and_names_of_columns_are_removed(tmp_path):
    table = labeled(tmp_path, ["Pneumonia", "Pneumonia ", " Normal"]).rename(columns={"label": " label"})
    bunch = load_xray_table(table, tmp_path, **NAMED | {"label_column": "label "}, positive=" Pneumonia")
    assert (bunch.target.tolist(), bunch.target_names) == ([1, 1, 0], ["Normal", "Pneumonia"])


@pytest.mark.parametrize(
    "several", ["Edema,Pneumonia", "Edema; Pneumonia", "pneumonia;Edema", "['Pneumonia', 'Edema']"]
)
@pytest.mark.parametrize("others", [["Pneumonia", "Edema"], ["Edema"]])
def test_findings_with_another_separator_raise(tmp_path, several, others):
    table = labeled(tmp_path, [several, *others])
    with pytest.raises(ValueError, match=r"several findings: .*'\|', as in '[PpE].*\|.*a'.* to positive\.$"):
        load_xray_table(table, tmp_path, **NAMED, positive="Pneumonia")
    if "Pneumonia" in others:  # the labels may be used as they are
        bunch = load_xray_table(table, tmp_path, **NAMED, positive=["Pneumonia", several])
        assert bunch.target.tolist() == [1, 1, 0]


@pytest.mark.parametrize("negative", ["No Pneumonia", "Edema, viral", "Nodule/Mass"])
def test_a_finding_in_a_phrase_is_another_label(tmp_path, negative):
    table = labeled(tmp_path, ["Pneumonia", negative])
    assert load_xray_table(table, tmp_path, **NAMED, positive="Pneumonia").target.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 1, -1], r"uncertain label +1  row 2 'c.png' \(-1\)"),
        (["0", "1", "-1.0"], r"uncertain label +1  row 2 'c.png' \(-1.0\)"),
        ([0.0, 1.0, 0.25], r"invalid label +1  row 2 'c.png' \(0.25\)(.|\n)*words or whole numbers"),
        ([0.0, 1.0, float("inf")], r"invalid label +1  row 2 'c.png' \(inf\)"),
    ],
)
@pytest.mark.parametrize("positive", [None, "1"])
def test_uncertain_and_fractional_labels_are_no_classes(tmp_path, labels, problem, positive):
    table = labeled(tmp_path, labels)
    with pytest.raises(LabelTableError, match=problem):
        load_xray_table(table, tmp_path, **NAMED, positive=positive)
    if "uncertain" in problem:
        bunch = load_xray_table(table, tmp_path, **NAMED, positive=positive, uncertain="drop")
        assert (bunch.target.tolist(), bunch.target_names) == ([0, 1], ["0", "1"])
        assert bunch.dropped["row"].tolist() == [2]


@pytest.mark.parametrize("uncertain", ["positive", "negative"])
def test_policy_for_uncertain_labels_applies_to_words(tmp_path, uncertain):
    options = {**NAMED, "positive": "1", "uncertain": uncertain}
    bunch = load_xray_table(labeled(tmp_path, [0, 1, -1]), tmp_path, **options)
    assert bunch.target.tolist() == [0, 1, int(uncertain == "positive")]


@pytest.mark.parametrize("ending", ["csv", "tsv", "xlsx"])
def test_repeated_names_of_columns_in_files_raise(tmp_path, ending):
    path = tmp_path / f"labels.{ending}"
    table = pd.DataFrame([["a.png", "normal", "x"]], columns=["file", "label", "label"])
    if ending == "xlsx":
        table.to_excel(path, index=False)
    else:
        table.to_csv(path, index=False, sep="," if ending == "csv" else "\t")
    with pytest.raises(ValueError, match=rf"columns of '.*labels.{ending}' must .* repeated: label\.$"):
        load_xray_table(path, **NAMED)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("utf16.csv", "file,label\na.png,é\n".encode("utf-16"), "codec can't decode.*encoding or sep"),
        ("latin.csv", "file,label\na.png,é\n".encode("latin-1"), "codec can't decode.*encoding or sep"),
        ("empty.csv", b"", "No columns to parse.*separator ','"),
        (
            "ragged.csv",
            b"file,label\na.png,normal\nb.png,x,y\n",
            "Expected 2 fields in line 3, saw 3.*encoding or sep",
        ),
        ("shifted.csv", b"file,label\na.png,normal,\n", "Expected 2 fields in line 2, saw 3.*encoding or sep"),
        ("ragged.tsv", b"file\tlabel\na\tb\tc\n", r"Expected 2 fields in line 2, saw 3.*separator '\\t'"),
        ("text.xlsx", b"file,label\n", "format cannot be determined.*Expected an Excel file"),
        ("text.csv.gz", b"file,label\n", "Not a gzipped file.*separator ','"),
        ("text.parquet", b"file,label\n", "Expected a Parquet file"),
    ],
)
def test_error_of_an_unreadable_table_names_the_file_and_the_remedy(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"(?s)The table '.*{name}' cannot be read: .*{message}.*DataFrame") as caught:
        load_xray_table(tmp_path / name, **NAMED)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_other_separator_is_named(tmp_path, separator):
    ending, shown = "tsv" if separator == "," else "csv", separator.replace("\t", r"\\t").replace("|", r"\|")
    path = csv(tmp_path / f"labels.{ending}", separator.join(["file", "label"]) + "\n")
    with pytest.raises(ValueError, match=rf"labels.{ending}' has a single column, .*read_csv\(\.\.\., sep='{shown}'"):
        load_xray_table(path, **NAMED)


def test_join_on_columns_of_different_types_raises(tmp_path):
    numbers = labeled(tmp_path, ["x", "y"]).assign(id=[1, 2])
    words = pd.DataFrame({"id": ["1", "2"], "age": [3, 4]})
    with pytest.raises(ValueError, match=r"different types: id \(int64 and \w+\)\. Convert"):
        load_xray_table([numbers, words], tmp_path, **NAMED)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"file": []}, "dict"),
        (pd.Series([1]), "Series"),
        (pd.DataFrame({"a": [1]}).values, "ndarray"),
        (None, "NoneType"),
        (b"labels.csv", "bytes"),
        ([None], "NoneType"),
    ],
)
def test_wrong_types_of_tables_raise(tmp_path, wrong, kind):
    with pytest.raises(TypeError, match=f"Expected a DataFrame, the path of a table.* of type {kind}"):
        load_xray_table(wrong, tmp_path, **NAMED)


def test_wrong_types_of_options_raise(table, tmp_path):
    with pytest.raises(TypeError, match="root to be the path of a folder; got an object of type int"):
        load_xray_table(table, 5, **COLUMNS)
    with pytest.raises(ValueError, match=r"'blank' .* must be a str among .* Got \['drop'\]"):
        load_xray_table(table, tmp_path, **COLUMNS, blank=["drop"])


@pytest.mark.parametrize("kind", [list, tuple, pd.Series, pd.Index, lambda words: pd.Series(words).to_numpy()])
def test_positive_may_be_any_sequence(table, tmp_path, kind):
    chosen = load_xray_table(table, tmp_path, **COLUMNS, positive=kind(["pneumonia", "normal"]))
    assert chosen.target.tolist() == [1, 1, 1, 1]


def test_columns_are_named_by_numbers(table, tmp_path):
    bunch = load_xray_table(
        table.set_axis(range(3), axis=1), tmp_path, image_column=0, label_column=1, patient_column=2, shuffle=False
    )
    assert (bunch.target.tolist(), bunch.groups.tolist()) == ([0, 1, 1, 0], ["007", "8", "8", "x9"])


def test_error_explains_lost_zeros_missing_words_and_columns_of_words(tmp_path):
    write(tmp_path, "0000.png")
    table = csv(tmp_path / "labels.csv", "file,label,ill\n0,None,yes\n0000,x,no\n")
    with pytest.raises(
        LabelTableError, match=r"row 0 '0'(.|\n)*words such as NA and None(.|\n)*leading zeros of names: read"
    ):
        load_xray_table(table, **NAMED)
    with pytest.raises(LabelTableError, match=r"row 0 '0' \(yes\)(.|\n)*column of words as label_column"):
        load_xray_table(table, image_column="file", positive="ill")


@pytest.mark.parametrize("positive", [None, "normal"])
def test_classes_without_images_are_dropped_with_a_warning(table, tmp_path, positive):
    table.loc[3] = ["lost.png", "covid", "x9"]
    with pytest.warns(UserWarning, match="1 missing file|No image is left") as caught:
        bunch = load_xray_table(table, tmp_path, **COLUMNS, positive=positive, on_error="drop", shuffle=False)
    messages = [str(each.message) for each in caught]
    if positive is None:
        assert messages[1:] == ["No image is left of the classes ['covid']; target_names lacks them."]
        assert (bunch.target.tolist(), bunch.target_names) == ([0, 1, 1], ["normal", "pneumonia"])
        assert caught[1].filename == __file__
    else:
        assert len(messages) == 1
        assert bunch.target_names == ["no normal", "normal"]
