"""Tell containers, whose items can be listed, from generators, data loaders and other objects that may be endless."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_LIST = "Pass a list of the images or of their paths, without labels and not in batches."
_BY_ATTRIBUTE = {  # what to pass instead of an object with an attribute
    "filepaths": "Pass {0}.filepaths, with the labels {0}.classes.",  # flow_from_directory, flow_from_dataframe
    "file_paths": "Pass {0}.file_paths.",  # image_dataset_from_directory
    "image_data_generator": "Pass the array of images that it was made from.",  # flow
    "element_spec": "Pass the paths of its images; image_dataset_from_directory returns them as dataset.file_paths.",
    "imgs": "Pass [path for path, _ in {0}.imgs], with the labels {0}.targets.",  # ImageFolder of torchvision
}


def advice_for(X: Any, name: str = "X") -> str | None:
    """Return what to pass instead of an object that is no container, or None for a container.

    The object is judged by its type and attributes; nothing is read from it.

    Examples
    --------
    >>> advice_for(["a.png"])
    >>> advice_for(path for path in ["a.png"])
    'Pass list(X) if it ends.'
    """
    if isinstance(X, Sequence) or hasattr(X, "__array__"):
        return None
    for attribute, advice in _BY_ATTRIBUTE.items():
        if hasattr(X, attribute):
            return advice.format(name)
    if hasattr(X, "dataset"):  # a data loader of PyTorch
        return advice_for(X.dataset, f"{name}.dataset") or f"Pass the images of {name}.dataset."
    if isinstance(X, Iterator) and not hasattr(X, "read"):  # the lines of a file are no images
        return f"Pass list({name}) if it ends."
    return _LIST if isinstance(X, Iterable) or hasattr(X, "__getitem__") else ""
