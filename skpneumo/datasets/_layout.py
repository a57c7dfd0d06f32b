"""Find the split and class folders of a data set, and the images in them."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any

from skpneumo._images.opening import FORMATS
from skpneumo._utils.messages import MAX_ITEMS, list_items, shortened
from skpneumo.datasets._listing import NOT_IMAGES, Exclusion, absolute, mask_in, subfolders, walk

STANDARD = {"NORMAL": 0, "PNEUMONIA": 1}
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
SUBSETS = {"train": ("train", "val"), "test": ("test",), "val": ("val",), "all": ("train", "test", "val")}
_NESTED = "chest_xray"
# Also "train_set", "TestData" and "fold1", but not "trained" or "valley fever".
_LIKE_SPLIT = re.compile(
    r"(?i)(?<![a-z])(train(ing)?|test(ing)?|val(id(ation)?)?|(k[ _-]?)?fold|split)(set|data|images?)?s?(?![a-z])"
)


@dataclass(frozen=True)
class Labeled:
    """Image in a class folder."""

    path: str
    class_name: str
    class_folder: str

    @property
    def folders(self) -> list[str]:
        """Return the names of the folders between the class folder and the image."""
        return os.path.relpath(self.path, self.class_folder).split(os.sep)[:-1]


@dataclass
class Layout:
    """Images of a subset, sorted by path.

    Attributes
    ----------
    root : str
        Absolute path of the folder with the split or class folders.
    classes : dict of str to int
        The label of each class folder.
    images : list of Labeled
        The images.
    skipped : dict of str to list of str
        Paths of the files that are not loaded, by reason.
    """

    root: str
    classes: dict[str, int]
    images: list[Labeled] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def summary(self) -> str:
        """Describe the skipped files."""
        return "; ".join(
            f"{reason} ({len(paths)}): {list_items([self.name(path) for path in paths])}"
            for reason, paths in sorted(self.skipped.items())
        )

    def skip(self, reason: str, path: str) -> None:
        """Record that a file is not loaded."""
        self.skipped.setdefault(reason, []).append(path)

    def counts(self, n_images: Counter[str]) -> str:
        """List files and folders with their numbers of images."""
        return list_items([f"{self.name(path)} ({n})" for path, n in sorted(n_images.items())], max_length=300)

    def name(self, path: str) -> str:
        """Return a path relative to the root, in quotes and with ``/``."""
        return repr(os.path.relpath(path, self.root).replace(os.sep, "/"))


def read_layout(
    root: str | os.PathLike[str],
    subset: str = "train",
    classes: Any = None,
    exclude: Any = None,
    *,
    may_be_empty: bool = False,
) -> Layout:
    """List the images of a subset of a folder with their classes, of which each has an image unless `may_be_empty`.

    Raises
    ------
    OSError, TypeError, ValueError
        As in `load_chest_xrays`.
    """
    names = STANDARD if classes is None else check_classes(classes)
    excluded = Exclusion(exclude)
    root, followed = _descend(absolute("root", root), {*SPLITS, *map(str.lower, names)}, excluded)
    splits = _split_folders(root, names, excluded)
    all_levels = [os.path.join(root, name) for name in splits] or [root]
    if classes is None:
        names = _default_classes(all_levels, excluded)
    levels = _levels(root, splits, subset, excluded)
    layout = Layout(root, names)
    of_level = {level: _class_folders(level, names, excluded) for level in levels}
    class_names = set(map(str.lower, names))
    homes = [
        os.path.join(level, name) for level in all_levels for name in _named(subfolders(level, excluded), class_names)
    ]
    real_homes = set(map(os.path.realpath, homes))
    seen = set(real_homes)
    for level, folders in of_level.items():
        for folder, class_name in folders.items():
            of_class = set(real_homes)  # a folder that several classes link to is an error, and not skipped
            _list_class(layout, os.path.join(level, folder), class_name, excluded, of_class)
            seen |= of_class
    # A folder `chest_xray` beside the split folders is a copy of them in the published archive.
    beside = followed | ({root: [*splits, *_named(subfolders(root, excluded), {_NESTED})]} if splits else {})
    _check_beside(layout, beside | {level: list(folders) for level, folders in of_level.items()}, excluded, seen)
    _check_inner_folders(layout)
    _check_links(layout, homes)
    if exclude is None or excluded.names:
        _check_masks(layout)
    if not may_be_empty:
        _check_empty(layout, of_level, {level for level, split in levels.items() if split == "val" != subset})
    layout.images.sort(key=lambda image: image.path.split(os.sep))
    return layout


def check_classes(classes: Any) -> dict[str, int]:
    """Return the labels of class folders, or raise an error."""
    if not isinstance(classes, Mapping) or not classes or not all(isinstance(name, str) for name in classes):
        raise TypeError(
            "classes must map the names of class folders to labels, such as {'COVID': 1, 'Normal': 0}; got "
            f"{shortened(repr(classes))}."
        )
    if wrong := {name: label for name, label in classes.items() if not isinstance(label, Integral)}:
        raise TypeError(f"The labels in classes must be integers; got {shortened(repr(wrong))}.")
    if repeated := [name for name, n in Counter(map(str.lower, classes)).items() if n > 1]:
        raise ValueError(f"Names in classes are case-insensitive, but {list_items(repeated)} occurs several times.")
    return {name: int(label) for name, label in classes.items()}


def _descend(root: str, names: set[str], excluded: Exclusion) -> tuple[str, dict[str, list[str]]]:
    """Descend to the split or class folders, through folders ``chest_xray`` and only subfolders, as in archives.

    Return the folder, and the only subfolder in each folder above it.
    """
    if not os.path.exists(root):
        raise FileNotFoundError(f"The folder '{root}' does not exist: pass the folder with the images.")
    if not os.path.isdir(root):
        raise NotADirectoryError(f"Expected a folder with X-rays, got the file '{root}': pass its folder.")
    followed: dict[str, list[str]] = {}
    real = set()
    while not _named(inner := subfolders(root, excluded), names):
        nested = _named(inner, {_NESTED}) or inner
        real.add(os.path.realpath(root))
        if (len(nested) != 1 and nested is inner) or os.path.realpath(os.path.join(root, nested[0])) in real:
            break
        if nested is inner:
            followed[root] = nested
        root = os.path.join(root, nested[0])
    return root, followed


def _split_folders(root: str, names: Iterable[str], excluded: Exclusion) -> dict[str, str]:
    """Return the names of the split folders and the split of each."""
    inner = subfolders(root, excluded)
    splits = {name: SPLITS[name.lower()] for name in _named(inner, SPLITS)}
    if splits and _named(inner, set(map(str.lower, names))):
        raise ValueError(f"Expected either split folders or class folders in '{root}', not both. {_found(root)}")
    return splits


def _levels(root: str, splits: dict[str, str], subset: str, excluded: Exclusion) -> dict[str, str]:
    """Return the folders of a subset that have class folders, and the split of each; ``val`` may be missing."""
    if not splits:
        if subset not in {"train", "all"}:
            advice = _why_no_classes(root, excluded) or "Use subset='train' for all its images."
            raise FileNotFoundError(
                f"subset={subset!r} needs a folder {subset!r} in '{root}', which has no split folders. {advice} "
                f"{_found(root)}"
            )
        return {root: "train"}
    wanted = SUBSETS[subset]
    for split in wanted:
        if split not in splits.values() and (split != "val" or subset == "val"):
            raise FileNotFoundError(f"subset={subset!r} needs a folder {split!r} in '{root}'. {_found(root)}")
    return {os.path.join(root, name): split for name, split in splits.items() if split in wanted}


def _default_classes(levels: list[str], excluded: Exclusion) -> dict[str, int]:
    """Return the standard classes, or those of the folder names if none of them is standard."""
    names = {name.lower(): name for level in levels for name in subfolders(level, excluded)}
    if len(names) < 2 or _named(names, {name.lower() for name in STANDARD}):
        return STANDARD
    for level in levels:
        if why := _why_no_classes(level, excluded):
            raise FileNotFoundError(f"Expected class folders in '{level}'. {why} To use them as classes, pass classes.")
    return {name: label for label, (_, name) in enumerate(sorted(names.items()))}


def _why_no_classes(level: str, excluded: Exclusion) -> str:
    """Return why the subfolders of a folder are probably no classes, and what to pass instead; empty if they may be."""
    inner, below = subfolders(level, excluded), []
    standard = {name.lower() for name in STANDARD}
    for name in set(inner) - set(_named(inner, standard)):
        for folder, names, _ in os.walk(os.path.join(level, name)):
            names[:] = [each for each in names if not excluded(os.path.join(folder, each))]
            below += [os.path.join(folder, each) for each in _named(names, standard)]
    advice = "Rename split folders to train, test and val, or load each folder that has class folders on its own."
    if below:
        listed = sorted(os.path.relpath(each, level).replace(os.sep, "/") for each in below)
        return f"Its subfolders contain folders {' or '.join(STANDARD)}: {list_items(listed)}. {advice}"
    if like_splits := [name for name in inner if _LIKE_SPLIT.search(name)]:
        return f"Its subfolders look like splits: {list_items(like_splits)}. {advice}"
    return ""


def _class_folders(level: str, classes: dict[str, int], excluded: Exclusion) -> dict[str, str]:
    """Return the class folders in a folder and the class of each."""
    class_of = {name.lower(): name for name in classes}
    inner = subfolders(level, excluded)
    folders = {name: class_of[name.lower()] for name in _named(inner, class_of)}
    if set(folders.values()) == set(classes):
        return folders
    *first, last = classes
    expected = f"folders {', '.join(first)} and {last}" if first else f"folder {last}"
    hint = _why_no_classes(level, excluded)
    if len(inner) > 1 and not hint:
        other = {name: label for label, name in enumerate(sorted(inner, key=lambda name: name.lower() != "normal"))}
        hint = f"For other class folders, pass their labels, such as classes={shortened(repr(other))}."
    raise FileNotFoundError(f"Expected the {expected} in '{level}'. {_found(level)} {hint}".rstrip())


def _list_class(layout: Layout, folder: str, class_name: str, excluded: Exclusion, seen: set[str]) -> None:
    for path, reason in walk(folder, excluded, seen):
        if reason is None:
            layout.images.append(Labeled(path, class_name, folder))
        else:
            layout.skip(reason, path)


def _check_beside(layout: Layout, beside: dict[str, list[str]], excluded: Exclusion, seen: set[str]) -> None:
    """Raise an error if there are images beside the split or class folders, whose names are given for each folder."""
    strays: Counter[str] = Counter()
    for folder, names in beside.items():
        for path, reason in walk(folder, excluded, seen, without=names):
            if reason is None:
                strays[os.path.join(folder, os.path.relpath(path, folder).split(os.sep)[0])] += 1
            elif reason not in NOT_IMAGES:
                layout.skip(reason, path)
    if strays:
        folders = dict.fromkeys(
            name for path in strays if os.path.isdir(path) and not _LIKE_SPLIT.search(name := os.path.basename(path))
        )
        more = {name: label for label, name in enumerate([*layout.classes, *folders])}
        raise ValueError(
            f"{_count(strays)} in '{layout.root}' {_is(strays)} in no class folder: {layout.counts(strays)}. Move "
            f"{_it(strays)} to a class folder{_or_exclude(map(os.path.basename, strays))}"
            + (
                f", or pass the labels of all class folders, such as classes={shortened(repr(more))}."
                if folders
                else "."
            )
        )


def _check_inner_folders(layout: Layout) -> None:
    """Raise an error if a class folder contains images in a folder that has the name of a split or another class."""
    labels = {name.lower(): label for name, label in layout.classes.items()}
    wrong: Counter[str] = Counter()
    for image in layout.images:
        for depth, name in enumerate(map(str.lower, image.folders)):
            if name in SPLITS or labels.get(name, layout.classes[image.class_name]) != layout.classes[image.class_name]:
                n_parts = len(image.folders) - depth
                wrong[image.path.rsplit(os.sep, n_parts)[0]] += 1
    if wrong:
        raise ValueError(
            f"{_count(wrong)} in '{layout.root}' {_is(wrong)} in a class folder, but in a subfolder with the name of a "
            f"split or of another class: {layout.counts(wrong)}. Expected class folders in split folders. Move "
            f"{_it(wrong)}{_or_exclude(os.path.relpath(path, layout.root).replace(os.sep, '/') for path in wrong)}."
        )


def _check_links(layout: Layout, homes: list[str]) -> None:
    """Raise an error if links put an image into two of the class folders, which are given for all splits."""
    real = cache(os.path.realpath)
    class_folders: dict[str, list[str]] = defaultdict(list)
    for home in homes:
        class_folders[real(home)].append(home)
    shared = [places for places in class_folders.values() if len(places) > 1]
    places_of: dict[str, dict[str, str]] = defaultdict(dict)  # by real path, then by class folder
    for image in () if shared else layout.images:
        folder, name = os.path.split(image.path)
        path = os.path.realpath(image.path) if os.path.islink(image.path) else os.path.join(real(folder), name)
        places_of[path][image.class_folder] = image.path
        if not path.startswith(real(image.class_folder) + os.sep):
            for above in map(str, Path(path).parents):
                for home in class_folders.get(above, ()):
                    places_of[path].setdefault(home, path)
    shared += [list(places.values()) for places in places_of.values() if len(places) > 1]
    if shared:
        listed = [" and ".join(map(layout.name, sorted(places))) for places in shared]
        raise ValueError(
            f"Links in '{layout.root}' put the same images into several splits or classes: "
            f"{list_items(listed, max_length=300)}. Keep one of each, and remove the others."
        )


def _check_masks(layout: Layout) -> None:
    """Raise an error if images are masks by their names."""
    masks: Counter[str] = Counter()
    names = {}
    for image in layout.images:
        *folders, file = os.path.relpath(image.path, layout.root).split(os.sep)
        for depth, name in enumerate(folders, 1):
            if mask_in(name):
                masks[os.path.join(layout.root, *folders[:depth])] += 1
                names[name] = True
                break
        else:
            if word := mask_in(file):
                masks[os.path.join(os.path.dirname(image.path), f"*{word}*")] += 1
                names[f"*{word}*"] = True
    if masks:
        raise ValueError(
            f"{_count(masks)} in '{layout.root}' {_is(masks)} by name masks of regions, not X-rays: "
            f"{layout.counts(masks)}. Move {_it(masks)}{_or_exclude(names)}. (exclude=() loads masks as X-rays.)"
        )


def _check_empty(layout: Layout, of_level: dict[str, dict[str, str]], optional: set[str]) -> None:
    """Raise an error if a class has no image in a split, unless the split is optional and has no image at all."""
    filled = {image.class_folder for image in layout.images}
    skipped = f" Skipped files: {layout.summary()}." if layout.skipped else ""
    if not filled:
        where = ", ".join(f"'{level}'" for level in of_level)
        raise ValueError(
            f"Found no image in the formats {', '.join(FORMATS)} in the class folders of {where}.{skipped}"
        )
    empty = []
    for level, names in of_level.items():
        folders = {os.path.join(level, name) for name in names}
        if level not in optional or folders & filled:
            empty += sorted(folders - filled)
    if empty:
        raise ValueError(
            f"Expected images in each class folder of '{layout.root}', but found none in "
            f"{list_items([layout.name(path) for path in empty])}. Add images, or name only the other classes in "
            f"classes.{skipped}"
        )


def _named(names: Iterable[str], wanted: Collection[str]) -> list[str]:
    """Return the names that are wanted, ignoring case."""
    return [name for name in names if name.lower() in wanted]


def _found(folder: str) -> str:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return f"Found: {list_items(names) or 'nothing'}."


def _count(counts: Counter[str]) -> str:
    return "1 image" if counts.total() == 1 else f"{counts.total()} images"


def _is(counts: Counter[str]) -> str:
    return "is" if counts.total() == 1 else "are"


def _it(counts: Counter[str]) -> str:
    return "it" if counts.total() == 1 else "them"


def _or_exclude(names: Iterable[str]) -> str:
    """Return the advice to exclude names, in full if there are few."""
    distinct = sorted(set(names))
    if len(distinct) > MAX_ITEMS:
        return ", or leave them out with exclude"
    return f", or pass exclude={(distinct[0] if len(distinct) == 1 else distinct)!r}"
