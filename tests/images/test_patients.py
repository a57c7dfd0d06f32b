"""Patient and etiology from file names."""

from pathlib import Path

import pytest

from skpneumo._images.patients import etiology, patient_key


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [
        ("person1_bacteria_1.jpeg", "person1_bacteria", "bacteria"),
        ("person78_bacteria_380.jpeg", "person78_bacteria", "bacteria"),
        ("person1000_virus_1681.jpeg", "person1000_virus", "virus"),
        ("IM-0115-0001.jpeg", "IM-0115", "normal"),
        ("IM-0033-0001-0002.jpeg", "IM-0033", "normal"),
        ("NORMAL2-IM-0383-0001.jpeg", "NORMAL2-IM-0383", "normal"),
        ("NORMAL2-IM-1103-0001-0001.png", "NORMAL2-IM-1103", "normal"),
        ("PERSON1_VIRUS_1.JPEG", "person1_virus", "virus"),
        ("Person1_Bacteria_1.jpg", "person1_bacteria", "bacteria"),
        ("normal2-im-0383-0001.jpeg", "NORMAL2-IM-0383", "normal"),
    ],
)
def test_patient_and_etiology_from_names_of_the_collection(name, key, kind):
    assert patient_key(name) == key
    assert etiology(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "",
        "scan.jpeg",
        "person1.jpeg",
        "person1_fungus_1.jpeg",
        "person1_bacterial_1.jpeg",
        "person_bacteria_1.jpeg",
        "myperson1_virus_1.jpeg",
        "IM-.jpeg",
        "IM-01a5-0001.jpeg",
        "NORMAL3-IM-0115-0001.jpeg",
        "PRIM-0115-0001.jpeg",
    ],
)
def test_other_names_have_no_patient_and_no_etiology(name):
    assert patient_key(name) is None
    assert etiology(name) is None


def test_bacteria_and_virus_are_part_of_the_key():
    assert patient_key("person7_bacteria_1.jpeg") != patient_key("person7_virus_1.jpeg")


def test_prefix_of_second_normal_series_is_part_of_the_key():
    assert patient_key("IM-0383-0001.jpeg") != patient_key("NORMAL2-IM-0383-0001.jpeg")


def test_all_digits_are_part_of_the_key():
    assert patient_key("person1_virus_1.jpeg") != patient_key("person11_virus_1.jpeg")
    assert patient_key("IM-011-0001.jpeg") != patient_key("IM-0115-0001.jpeg")


@pytest.mark.parametrize(
    "path",
    [
        "train/NORMAL/IM-0115-0001.jpeg",
        "C:\\xrays\\test\\NORMAL\\IM-0115-0002.jpeg",
        "person3_virus_2.jpeg/IM-0115-0001.jpeg",
        Path("elsewhere") / "IM-0115-0001-0001.jpeg",
    ],
)
def test_folders_are_ignored_with_any_separator(path):
    assert patient_key(path) == "IM-0115"
    assert etiology(path) == "normal"


def test_copies_made_by_augmentation_keep_their_patient():
    assert patient_key("person78_bacteria_380_flipped (1).png") == "person78_bacteria"
