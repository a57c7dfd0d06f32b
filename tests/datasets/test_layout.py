"""Which files of a folder are loaded, with which labels, and what is said about the others."""

import os
import sys
from pathlib import Path

import pytest

from datasets.conftest import FLAT, JPEG, KAGGLE, relative, touch
from skpneumo.datasets import load_chest_xrays, make_chest_xrays
from skpneumo.datasets._listing import mask_in

COVID = ["COVID/images/1.png", "COVID/images/2.png", "Normal/images/1.png", "Viral Pneumonia/images/1.png"]
MASKS = [name.replace("images", "masks") for name in COVID]


def load(root, **options):
    """Return the label of each image by its relative path."""
    bunch = load_chest_xrays(root, **options)
    return dict(zip(relative(bunch, root), bunch.target.tolist(), strict=True))


# Which files are images


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a", "a.dat", "a.JPEG", "a.png.part1", "IM-0115.0001"])
def test_images_are_recognized_by_their_bytes(tmp_path, name):
    touch(tmp_path, *FLAT)
    (tmp_path / "NORMAL" / name).write_bytes(JPEG)
    assert load(tmp_path)[f"NORMAL/{name}"] == 0


@pytest.mark.parametrize(
    "name", [".DS_Store", "._1.png", "Thumbs.db", "desktop.ini", "__MACOSX/1.png", ".git/1.png", "@eaDir/1.png"]
)
@pytest.mark.parametrize("folder", ["", "NORMAL/"])
def test_junk_is_skipped_silently(tmp_path, name, folder):
    touch(tmp_path, *FLAT, folder + name)
    bunch = load_chest_xrays(tmp_path)
    assert sorted(relative(bunch, tmp_path)) == FLAT
    assert bunch.skipped == {}


def test_other_files_in_class_folders_are_counted_in_one_warning(tmp_path):
    touch(tmp_path, *FLAT, "NORMAL/notes.txt", "NORMAL/more/notes.txt")
    contents = {
        "a.gif": b"GIF89a" + bytes(99),
        "b.pdf": b"%PDF-1.7",
        "c.zip": b"PK\x03\x04" + bytes(99),
        "d.png": b"",
        "e.jp2": b"\0\0\0\x0cjP  " + bytes(99),
        "f.heic": b"\0\0\0\x18ftypheic",
        "g.npy": b"\x93NUMPY\0",
    }
    for name, content in contents.items():
        (tmp_path / "PNEUMONIA" / name).write_bytes(content)
    (tmp_path / "PNEUMONIA" / "h.png").symlink_to("nowhere.png")
    (tmp_path / "PNEUMONIA" / "i.png").symlink_to("i.png")
    with pytest.warns(
        UserWarning, match=r"^11 files in .* are not loaded: .*text file \(2\): 'NORMAL/more/notes.txt', "
    ):
        bunch = load_chest_xrays(tmp_path)
    assert sorted(relative(bunch, tmp_path)) == FLAT
    skipped = {reason: [Path(path).name for path in paths] for reason, paths in bunch.skipped.items()}
    (loop,) = [reason for reason in skipped if reason.startswith("cannot be read")]
    assert skipped.pop(loop) == ["i.png"]
    assert skipped == {
        "text file": ["notes.txt", "notes.txt"],
        "GIF image": ["a.gif"],
        "document or archive": ["b.pdf", "c.zip"],
        "empty file": ["d.png"],
        "JPEG 2000 image": ["e.jp2"],
        "HEIC or AVIF image, or video": ["f.heic"],
        "unknown format": ["g.npy"],
        "broken link": ["h.png"],
    }


def test_warning_refers_to_the_caller_and_lists_ten_files(tmp_path):
    touch(tmp_path, *FLAT, *(f"NORMAL/{i:02d}.txt" for i in range(12)))
    with pytest.warns(UserWarning, match="'NORMAL/09.txt' and 2 more") as caught:
        bunch = load_chest_xrays(tmp_path)
    assert [each.filename for each in caught] == [__file__]
    assert len(bunch.skipped["text file"]) == 12


def test_excluded_files_cause_no_warning(tmp_path):
    touch(tmp_path, *FLAT, "NORMAL/notes.txt", "NORMAL/old/1.png", "COVID/1.png")
    assert sorted(load(tmp_path, exclude=["*.TXT", "normal/Old", "covid"])) == FLAT


@pytest.mark.parametrize("exclude", ["{}/a/bad.png", "data/A/bad.png", "A\\bad.png", Path("a/bad.png"), "a/bad.png/"])
def test_only_the_excluded_path_is_left_out(tmp_path, exclude):
    root = touch(tmp_path / "data [1]/data", "A/a.png", "A/bad.png", "B/b.png", "C/c.png", "C/bad.png")
    exclude = exclude.format(root) if isinstance(exclude, str) else [exclude]
    assert load(root, exclude=exclude) == {"A/a.png": 0, "B/b.png": 1, "C/c.png": 2, "C/bad.png": 2}


def test_excluded_folder_may_end_with_a_separator(tmp_path):
    touch(tmp_path, *FLAT, "NORMAL/masks/1.png")
    for exclude in ("masks/", "NORMAL\\masks", str(tmp_path / "NORMAL" / "masks") + os.sep):
        assert sorted(load(tmp_path, exclude=exclude)) == FLAT


@pytest.mark.parametrize("exclude", [5, b"masks", [5], [b"masks"]])
def test_exclude_of_another_type_raises(tmp_path, exclude):
    with pytest.raises(TypeError, match="exclude must be a name of files or folders, such as 'masks', or a list"):
        load_chest_xrays(touch(tmp_path, *FLAT), exclude=exclude)


def test_documents_beside_class_folders_are_expected(tmp_path):
    touch(tmp_path, *KAGGLE, "README.txt", "docs/labels.csv", "train/notes.txt")
    (tmp_path / "metadata.xlsx").write_bytes(b"PK\x03\x04")
    assert load_chest_xrays(tmp_path).skipped == {}


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
def test_pipe_is_not_opened(tmp_path):
    touch(tmp_path, *FLAT)
    os.mkfifo(tmp_path / "NORMAL" / "pipe.png")
    with pytest.warns(UserWarning, match=r"not a regular file \(1\)"):
        assert sorted(load(tmp_path)) == FLAT


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="all files are readable")
@pytest.mark.parametrize("name", ["NORMAL/more/1.png", "NORMAL/more", "COVID"])
def test_unreadable_files_and_folders_are_counted(tmp_path, name):
    touch(tmp_path, *FLAT, "NORMAL/more/1.png", "COVID/1.png")
    (tmp_path / name).chmod(0)
    with pytest.warns(UserWarning, match=r"cannot be read: Permission denied \(1\)"):
        bunch = load_chest_xrays(tmp_path, exclude=None if name == "COVID" else "COVID")
    (tmp_path / name).chmod(0o700)
    assert set(FLAT) <= set(relative(bunch, tmp_path))


# Subfolders and links


def test_subfolders_of_a_class_are_read_at_any_depth(tmp_path):
    names = ["NORMAL/NORMAL/1.png", "NORMAL/2.png", "PNEUMONIA/bacteria/1.png", "PNEUMONIA/a/b/c/d/1.png"]
    assert load(touch(tmp_path, *names)) == {name: int(name.startswith("P")) for name in names}


@pytest.mark.parametrize("target", [".", "..", "../..", "../PNEUMONIA"])
def test_links_to_listed_folders_are_not_followed(tmp_path, target):
    root = touch(tmp_path / "data", *FLAT)
    (root / "NORMAL" / "loop").symlink_to(target, target_is_directory=True)
    with pytest.warns(UserWarning, match=r"link to a folder that is listed elsewhere \(1\): 'NORMAL/loop'"):
        assert sorted(load(root)) == FLAT


def test_root_that_contains_itself_raises(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(FileNotFoundError, match="Found: loop"):
        load_chest_xrays(tmp_path)


def test_linked_folders_outside_are_read(tmp_path):
    root = touch(tmp_path / "data", *FLAT)
    touch(tmp_path / "elsewhere", "b/1.png")
    (root / "NORMAL" / "a").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert sorted(load(root)) == sorted(["NORMAL/a/b/1.png", *FLAT])


@pytest.mark.parametrize("folder", ["", "archive/", "archive/data v2/"])
def test_only_subfolder_is_followed(tmp_path, folder):
    touch(tmp_path, *(folder + name for name in FLAT))
    assert sorted(load(tmp_path)) == [folder + name for name in FLAT]


def test_copy_beside_split_folders_is_not_read(tmp_path):
    touch(tmp_path, *KAGGLE, *(f"chest_xray/{name}" for name in KAGGLE))
    assert sorted(load(tmp_path, subset="all")) == sorted(KAGGLE)


@pytest.mark.parametrize(
    ("link", "target", "named"),
    [
        ("test", "train", r"'test/NORMAL' and 'train/NORMAL', 'test/PNEUMONIA' and 'train/PNEUMONIA'\."),
        ("test/NORMAL", "../train/NORMAL", r"'test/NORMAL' and 'train/NORMAL'\."),
        ("test/NORMAL/a", "../../train/NORMAL/a", r"'test/NORMAL/a/1\.png' and 'train/NORMAL/a/1\.png'\."),
        ("train/NORMAL/b", "../PNEUMONIA/b", r"'train/NORMAL/b/1\.png' and 'train/PNEUMONIA/b/1\.png'\."),
        ("train/NORMAL/c.png", "../PNEUMONIA/1.png", r"'train/NORMAL/c\.png' and 'train/PNEUMONIA/1\.png'\."),
    ],
)
def test_links_between_splits_or_classes_raise(tmp_path, link, target, named):
    names = ["NORMAL/1.png", "NORMAL/a/1.png", "PNEUMONIA/1.png", "PNEUMONIA/b/1.png"]
    touch(tmp_path, *(f"train/{name}" for name in names))
    if "/" in link:
        touch(
            tmp_path, "test/PNEUMONIA/2.png", "test/NORMAL/2.png" if link != "test/NORMAL" else "test/PNEUMONIA/3.png"
        )
    (tmp_path / link).symlink_to(target)
    for subset in ("all", link.partition("/")[0]):
        with pytest.raises(ValueError, match=rf"put the same images into several splits or classes: {named}"):
            load_chest_xrays(tmp_path, subset=subset)


def test_links_of_two_classes_to_one_file_elsewhere_raise(tmp_path):
    touch(tmp_path, "store/1.png", "store/2.png", "data/NORMAL/3.png", "data/PNEUMONIA/3.png")
    for name in ("NORMAL/a.png", "PNEUMONIA/b.png"):
        (tmp_path / "data" / name).symlink_to("../../store/1.png")
    with pytest.raises(ValueError, match=r"'NORMAL/a\.png' and 'PNEUMONIA/b\.png'\."):
        load_chest_xrays(tmp_path / "data")
    assert len(load(tmp_path / "data", exclude="PNEUMONIA/b.png")) == 3


# Images whose class is not clear


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (
            ["COVID/1.png", "COVID/a/2.png"],
            r"2 images in .* are in no class folder: 'COVID' \(2\)\. .*exclude='COVID', ",
        ),
        (["1.png"], r"1 image in .* is in no class folder: '1\.png' \(1\)\. Move it .*exclude='1\.png'\.$"),
        ([f"{i}.png" for i in range(12)], r"12 images .* and 2 more\. Move them .*with exclude\.$"),
    ],
)
def test_images_in_no_class_folder_raise(tmp_path, extra, named):
    with pytest.raises(ValueError, match=named):
        load_chest_xrays(touch(tmp_path, *FLAT, *extra))


def test_error_on_a_further_class_shows_the_labels_to_pass(tmp_path):
    touch(tmp_path, *FLAT, "COVID/1.png")
    classes = {"NORMAL": 0, "PNEUMONIA": 1, "COVID": 2}
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_chest_xrays(tmp_path)
    assert f"classes={classes!r}" in str(error.value)
    assert load(tmp_path, classes=classes) == {"COVID/1.png": 2, FLAT[0]: 0, FLAT[1]: 1}


@pytest.mark.parametrize("name", ["1.png", "unlabeled/1.png", "train/1.png", "train/COVID/1.png", "data/train/1.png"])
def test_images_beside_split_and_class_folders_raise(tmp_path, name):
    with pytest.raises(ValueError, match=r"1 image in .* is in no class folder"):
        load_chest_xrays(touch(tmp_path, *KAGGLE, name))


def test_images_beside_an_only_subfolder_raise(tmp_path):
    with pytest.raises(ValueError, match=r"is in no class folder: '\.\./1\.png' \(1\)"):
        load_chest_xrays(touch(tmp_path, *(f"data/{name}" for name in FLAT), "1.png"))


@pytest.mark.parametrize("name", ["NORMAL/train/1.png", "NORMAL/a/Test/1.png", "NORMAL/PNEUMONIA/1.png"])
def test_split_or_other_class_in_a_class_folder_raises(tmp_path, name):
    touch(tmp_path, *FLAT, name)
    folder = Path(name).parent
    with pytest.raises(ValueError, match=rf"name of a split or of another class: '{folder.as_posix()}' \(1\)") as error:
        load_chest_xrays(tmp_path)
    assert f"exclude={folder.as_posix()!r}" in str(error.value)
    assert sorted(load(tmp_path, exclude=folder.as_posix())) == FLAT


def test_empty_class_raises(tmp_path):
    touch(tmp_path, "NORMAL/1.png", "PNEUMONIA/notes.txt")
    with pytest.raises(ValueError, match=r"none in 'PNEUMONIA'\. .* Skipped files: text file \(1\): 'PNEUMONIA/notes"):
        load_chest_xrays(tmp_path)
    assert load(tmp_path, classes={"NORMAL": 0}) == {"NORMAL/1.png": 0}


def test_folders_without_images_raise(tmp_path):
    touch(tmp_path, "NORMAL/a.txt", "PNEUMONIA/b.txt")
    with pytest.raises(ValueError, match=r"^Found no image in the formats JPEG, .* text file \(2\): 'NORMAL/a\.txt'"):
        load_chest_xrays(tmp_path)


def test_empty_class_in_one_split_raises_unless_val_is_empty(tmp_path):
    touch(tmp_path, *KAGGLE)
    (tmp_path / KAGGLE[6]).unlink()
    with pytest.raises(ValueError, match=r"found none in 'val/NORMAL'"):
        load_chest_xrays(tmp_path)
    (tmp_path / KAGGLE[7]).unlink()
    assert len(load(tmp_path)) == 6
    with pytest.raises(ValueError, match=r"^Found no image"):
        load_chest_xrays(tmp_path, subset="val")


def test_synthetic_folder_may_have_one_class(tmp_path):
    for prevalence in (0, 1):
        folder = tmp_path / str(prevalence)
        assert set(make_chest_xrays(3, folder, prevalence=prevalence, image_size=32).target) == {prevalence}


# Masks


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("masks", "mask"),
        ("lung masks", "mask"),
        ("LungMasks", "mask"),
        ("lungmask", "mask"),
        ("ManualMask", "mask"),
        ("1_mask.png", "mask"),
        ("MASK", "mask"),
        ("Segmentation", "segmentation"),
        ("images", None),
        ("masked", None),
        ("Maskell_1.png", None),
        ("unmasked", None),
    ],
)
def test_words_for_masks(name, mask):
    assert mask_in(name) == mask


def test_masks_raise_and_can_be_left_out(tmp_path):
    touch(tmp_path, *COVID, *MASKS)
    classes = {"COVID": 1, "Viral Pneumonia": 1, "Normal": 0}
    with pytest.raises(ValueError, match=r"4 images .* are by name masks.*: 'COVID/masks' \(2\), .*exclude='masks'\."):
        load_chest_xrays(tmp_path, classes=classes)
    with pytest.raises(ValueError, match="by name masks"):
        load_chest_xrays(tmp_path, classes=classes, exclude="COVID/masks")
    bunch = load_chest_xrays(tmp_path, classes=classes, exclude="masks", shuffle=False)
    assert relative(bunch, tmp_path) == COVID
    assert bunch.target.tolist() == [1, 1, 0, 1]
    assert bunch.target_names == ["Normal", "COVID or Viral Pneumonia"]
    assert len(load_chest_xrays(tmp_path, classes=classes, exclude=()).data) == 8


def test_masks_beside_their_images_raise(tmp_path):
    touch(tmp_path, *FLAT, "NORMAL/IM-0115-0001_mask.png")
    with pytest.raises(ValueError, match=r"1 image .* is by name .*: 'NORMAL/\*mask\*' \(1\).*exclude='\*mask\*'"):
        load_chest_xrays(tmp_path)
    assert sorted(load(tmp_path, exclude="*mask*")) == FLAT


def test_masks_are_not_a_class(tmp_path):
    with pytest.raises(ValueError, match=r"masks.*: 'masks' \(1\)"):
        load_chest_xrays(touch(tmp_path, "images/1.png", "masks/1.png"))


# Classes of any name


def test_other_folders_are_classes_by_their_sorted_names(tmp_path):
    touch(tmp_path, "sick/2.png", "healthy/1.png", "tuberculosis/3.png", "README.txt")
    bunch = load_chest_xrays(tmp_path, shuffle=False)
    assert bunch.target_names == ["healthy", "sick", "tuberculosis"]
    assert bunch.target.tolist() == [0, 1, 2]
    assert bunch.etiology.tolist() == ["unknown"] * 3
    assert "Kermany" not in bunch.DESCR
    with pytest.raises(ValueError, match="needs the class folders NORMAL and PNEUMONIA"):
        load_chest_xrays(tmp_path, target="etiology")


def test_other_classes_are_the_same_in_all_splits(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/B/1.png", "train/c/1.png", "test/A/1.png", "test/b/1.png", "test/c/1.png")
    assert load(tmp_path, subset="test") == {"test/A/1.png": 0, "test/b/1.png": 1, "test/c/1.png": 2}
    train, test = (load_chest_xrays(tmp_path, subset=subset).target_names for subset in ("train", "test"))
    assert train == test
    touch(tmp_path, "test/d/1.png")
    with pytest.raises(FileNotFoundError, match=r"and d in .*train.*Found: B, a, c"):
        load_chest_xrays(tmp_path)


@pytest.mark.parametrize(
    "folders", [("train_set", "test_set"), ("fold1", "fold2"), ("P001", "P002"), ("siteA/2020", "siteB")]
)
@pytest.mark.parametrize("options", [{}, {"subset": "test"}, {"classes": {"NORMAL": 0, "PNEUMONIA": 1}}])
def test_folders_that_contain_class_folders_are_no_classes(tmp_path, folders, options):
    touch(tmp_path, f"{folders[0]}/NORMAL/1.png", f"{folders[1]}/Pneumonia/2.png")
    with pytest.raises(FileNotFoundError, match="subfolders contain folders NORMAL or PNEUMONIA") as error:
        load_chest_xrays(tmp_path, **options)
    assert f"{folders[0]}/NORMAL" in str(error.value)
    assert "classes={" not in str(error.value)
    assert "Use subset" not in str(error.value)


@pytest.mark.parametrize("folders", [("TrainData", "TestData"), ("fold_1", "fold_2"), ("training images", "rest")])
def test_folders_named_like_splits_are_no_classes_by_default(tmp_path, folders):
    touch(tmp_path, *(f"{folder}/{name}" for folder in folders for name in ("sick/1.png", "healthy/2.png")))
    with pytest.raises(FileNotFoundError, match=f"subfolders look like splits: .*{folders[0]}"):
        load_chest_xrays(tmp_path)
    assert len(load(tmp_path, classes={name: label for label, name in enumerate(folders)})) == 4


def test_folder_named_like_a_split_beside_classes_is_no_further_class(tmp_path):
    with pytest.raises(ValueError, match=r"in no class folder: 'train_set' \(1\)\. .* exclude='train_set'\.$"):
        load_chest_xrays(touch(tmp_path, *FLAT, "train_set/NORMAL/1.png"))


def test_class_names_may_begin_like_splits(tmp_path):
    touch(tmp_path, "Valley fever/1.png", "Tested/2.png", "Untrained/3.png")
    assert load_chest_xrays(tmp_path).target_names == ["Tested", "Untrained", "Valley fever"]


def test_standard_class_beside_others_raises_with_the_labels_to_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"NORMAL and PNEUMONIA in .*classes=\{'Normal': 0, 'COVID': 1, 'Viral"):
        load_chest_xrays(touch(tmp_path, *COVID))


def test_frame_has_the_names_of_the_class_folders(tmp_path):
    pytest.importorskip("pandas")
    classes = {"covid": 1, "Viral pneumonia": 1, "NORMAL": 0}
    frame = load_chest_xrays(touch(tmp_path, *COVID), classes=classes, as_frame=True, shuffle=False).frame
    assert frame["diagnosis"].tolist() == ["covid", "covid", "NORMAL", "Viral pneumonia"]
    assert frame["etiology"].tolist() == ["unknown", "unknown", "normal", "unknown"]


@pytest.mark.parametrize(
    ("classes", "error", "named"),
    [
        (["COVID"], TypeError, r"got \['COVID'\]"),
        ({}, TypeError, "such as {'COVID': 1, 'Normal': 0}"),
        ({"COVID": "sick"}, TypeError, r"integers; got {'COVID': 'sick'}"),
        ({"COVID": 0, "covid": 1}, ValueError, "covid occurs several times"),
        (
            {"COVID": 0, "Flu": 1},
            FileNotFoundError,
            r"folders COVID and Flu in .*Found: COVID, Normal, Viral Pneumonia",
        ),
        ({"COVID": 0}, ValueError, r"no class folder: 'Normal' \(1\), 'Viral Pneumonia' \(1\).*exclude=\['Normal', 'V"),
    ],
)
def test_invalid_classes_raise(tmp_path, classes, error, named):
    with pytest.raises(error, match=named):
        load_chest_xrays(touch(tmp_path, *COVID), classes=classes)
