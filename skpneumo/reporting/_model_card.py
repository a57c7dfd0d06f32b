"""Write the model card of a fitted classifier."""

import math
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._utils.atomic_write import write_atomically
from skpneumo._utils.messages import list_items, list_values, shortened
from skpneumo._utils.target_names import name_classes
from skpneumo._utils.validation import PATH, choices, validated
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.reporting._card_model import check_parameters_of_fit, model_facts
from skpneumo.reporting._card_performance import evaluation_facts, threshold_facts
from skpneumo.reporting._card_training import training_facts
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._markdown import one_line, plain, within_section
from skpneumo.reporting._model_facts import evaluated_model_digest, is_fitted_on_images
from skpneumo.reporting._templates import check_installed, render

_LICENSE = "License"
_METADATA_METRICS = ("sensitivity", "specificity", "roc_auc", "accuracy", "brier_score")

_COLLECTIONS = ("kermany",)
_HEADING = re.compile(r"^(#{2,3} .+)$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\[To be filled in: [^\]]*\]$")


class _Section(NamedTuple):
    """A heading and its text, which may hold a placeholder."""

    heading: str
    text: str

    @property
    def name(self) -> str:
        return self.heading.lstrip("# ")


@validated(path=[*PATH, None], collection=[choices(*_COLLECTIONS), None], test_name=[str, None], title=[str])
def model_card(
    clf: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    evaluation: Evaluation | None = None,
    sections: Mapping[str, str] | None = None,
    collection: str | None = None,
    test_name: str | None = None,
    title: str = "Chest X-ray classifier",
    target_names: Any = None,
) -> str:
    """Write the model card of a fitted classifier in Markdown, with the headings of Hugging Face's template.

    Facts about the model and its evaluation are filled in. Other facts, such as the intended users, are left as
    placeholders ``[To be filled in: ...]``.

    Parameters
    ----------
    clf : estimator instance
        Fitted `PneumoniaClassifier`, or a search, a tuned threshold or a calibration around one.
    path : str or pathlib.Path, default=None
        Path of the Markdown file, which is written atomically. Model repositories name it ``README.md``. If None, no
        file is written.
    evaluation : Evaluation, default=None
        Result of `report` for this model. If None, the sections on performance are placeholders. Wrappers around the
        model, such as a calibration, must be the same as in the evaluation, which is not checked.
    sections : mapping of str to str, default=None
        Markdown text by section name, which replaces the placeholder. HTML, headings, and code fences that are unclosed
        or indented are escaped. A "License" of one lower-case word, such as "bsd-3-clause", is also added to the
        metadata.
    collection : {None, "kermany"}, default=None
        Public collection of all training images. If given, the card describes its population, labels and acquisition.
    test_name : str, default=None
        Name of the test data. With `evaluation`, the metadata list the results under it.
    title : str, default="Chest X-ray classifier"
        Title of the card.
    target_names : array-like of shape (n_classes,), default=None
        Names of the classes, in the order of ``clf.classes_``. If None, those of `evaluation` or, without them, the
        labels.

    Returns
    -------
    card : str
        The model card.

    Raises
    ------
    ImportError
        If Jinja2 or PyYAML is not installed.
    TypeError, NotFittedError
        If `clf` does not hold exactly one fitted `PneumoniaClassifier`, or a parameter has the wrong type.
    ValueError
        If `sections` has unknown names or empty texts, if `evaluation` is of another model, of several models or of
        no `PneumoniaClassifier`, or if parameters of the model are invalid or give other features than at fit.

    Notes
    -----
    The card shows the current parameters. Parameters that give other features than at fit raise an error, except for
    another weight file, since weights are not read. Changes to parameters of the head, its training or prediction,
    such as `alpha`, are detected only if they are invalid.

    References
    ----------
    M. Mitchell et al., "Model Cards for Model Reporting", 2019, arXiv:1810.03993.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.reporting import model_card
    >>> features = np.random.RandomState(0).rand(20, 3)
    >>> clf = PneumoniaClassifier().fit(features, np.arange(20) % 2)
    >>> card = model_card(clf, sections={"Model Card Contact": "the radiology research group"})
    >>> print(card[card.index("## Model Card Contact") :])
    ## Model Card Contact
    <BLANKLINE>
    the radiology research group
    <BLANKLINE>
    >>> "[To be filled in: developers of the model]" in card
    True
    """
    check_installed("model_card", "jinja2", "yaml")
    inner = check_inner(clf)
    check_parameters_of_fit(inner)
    if evaluation is not None:
        _check_evaluation(evaluation, inner)
    facts = _facts(clf, inner, evaluation, _names(inner, evaluation, target_names))
    names = {"title": title, "collection": collection, "test_name": test_name}
    start, parts = _split(render("model_card.md", finalize=_escaped, **names, **facts))
    texts = _check_texts(sections, [part.name for part in parts if part.text])
    metadata = _front_matter(_metadata(inner, evaluation, texts.get(_LICENSE), test_name, title))
    card = "\n\n".join([metadata, start, *(_format_section(part, texts.get(part.name)) for part in parts)]) + "\n"
    if path is not None:
        write_atomically(path, card.encode())
    return card


def _names(inner: PneumoniaClassifier, evaluation: Evaluation | None, target_names: Any) -> dict[Any, str]:
    """Return the name of each class, by label."""
    if target_names is None and evaluation is not None:
        target_names = [evaluation.names_by_label[str(label)] for label in inner.classes_.tolist()]
    return {label: str(name) for label, name in name_classes(inner.classes_, target_names).items()}


def _facts(
    clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None, names: dict[Any, str]
) -> dict[str, Any]:
    facts = {"evaluation": evaluation, **model_facts(clf, inner, names), **training_facts(clf, inner)}
    facts |= threshold_facts(clf, evaluation, names)
    if evaluation is None:
        return facts
    return facts | evaluation_facts(clf, inner, evaluation, facts.get("threshold"), names)


def _escaped(value: Any) -> Any:
    """Escape values printed by the template unless they are marked safe."""
    return value if hasattr(value, "__html__") else plain(value)


def _split(card: str) -> tuple[str, list[_Section]]:
    """Split a card into the text above the first section and the sections."""
    start, *parts = _HEADING.split(re.sub("\n{3,}", "\n\n", card))
    return start.strip(), [_Section(*map(str.strip, each)) for each in zip(parts[::2], parts[1::2], strict=True)]


def _format_section(section: _Section, text: str | None) -> str:
    """Format a section, with the placeholder replaced by a text of the user."""
    blocks = [section.text] if text is None else [_PLACEHOLDER.sub("", section.text).strip(), within_section(text)]
    return "\n\n".join(filter(None, [section.heading, *blocks]))


def _check_evaluation(evaluation: Any, inner: PneumoniaClassifier) -> None:
    if not isinstance(evaluation, Evaluation):
        raise TypeError(f"evaluation must be the result of report; got {type(evaluation).__name__}.")
    classes = inner.classes_.tolist()
    if {*map(str, evaluation.labels)} != {*map(str, classes)}:
        raise ValueError(
            f"The classes of the evaluation are {list_values(evaluation.labels)}, but those of the model are "
            f"{list_values(classes)}. "
            "Pass the result of report for this model."
        )
    if evaluation.model_digest is None:
        raise ValueError(
            "The evaluation is not of exactly one PneumoniaClassifier, so it cannot be matched with this model. Pass "
            "the result of report for this model."
        )
    if evaluation.model_digest != evaluated_model_digest(inner):
        raise ValueError(
            "The evaluation is of another model with the same classes, by the digests of the fitted attributes. Pass "
            "the result of report for this model."
        )


def _check_texts(texts: Mapping[str, str] | None, names: list[str]) -> dict[str, str]:
    """Return the texts of the user by section; raise TypeError or ValueError for unknown names or empty texts."""
    if not isinstance(texts, (Mapping, type(None))):
        raise TypeError(f"sections must be a mapping of section names to texts; got {shortened(repr(texts))}.")
    texts = dict(texts or {})
    unknown = [name for name in texts if name not in names]
    if unknown:
        raise ValueError(
            f"Unknown sections: {list_values(unknown)[1:-1]}. Fix or remove them; valid sections are "
            f"{', '.join(map(repr, names))}."
        )
    wrong = [
        f"{name!r}: {shortened(repr(text))}"
        for name, text in texts.items()
        if not (isinstance(text, str) and text.strip())
    ]
    if wrong:
        raise ValueError(f"Texts of sections must be non-empty strings; fix or remove {list_items(wrong)}.")
    return texts


def _metadata(
    inner: PneumoniaClassifier,
    evaluation: Evaluation | None,
    license_name: str | None,
    test_name: str | None,
    title: str,
) -> dict[str, Any]:
    """Return the machine-readable metadata of the card."""
    metadata: dict[str, Any] = {"library_name": "skpneumo"}
    if license_name and license_name.strip().replace("-", "").replace(".", "").isalnum() and license_name.islower():
        metadata["license"] = license_name.strip()
    if is_fitted_on_images(inner):
        metadata["pipeline_tag"] = "image-classification"
    tags = ["chest-x-ray", "medical-imaging", "scikit-learn"]
    metadata["tags"] = [*tags, "transfer-learning", "vgg19"] if is_fitted_on_images(inner) else tags
    if evaluation is None:
        return metadata
    values = [(name, evaluation.performance[name].estimate) for name in _METADATA_METRICS]
    metadata["metrics"] = [name for name, _ in values]
    if test_name is not None:
        results = {
            "task": {"type": "image-classification" if is_fitted_on_images(inner) else "tabular-classification"},
            "dataset": {"type": _slug(test_name), "name": one_line(test_name)},
            "metrics": [{"type": name, "value": round(float(value), 4)} for name, value in values],
        }
        metadata["model-index"] = [{"name": one_line(title), "results": [results]}]
    return metadata


def _slug(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", ascii_only).strip("-") or "test-images"


def _front_matter(metadata: dict[str, Any]) -> str:
    import yaml

    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=math.inf)}---"
