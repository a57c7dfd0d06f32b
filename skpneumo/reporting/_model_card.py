"""A model card: what is known of a model, and marks for what only its makers know."""

import math
import os
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images.sources import shortened
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.reporting._atomic_write import write_whole
from skpneumo.reporting._card_model import check_parameters_of_fit, facts_of_model
from skpneumo.reporting._card_performance import facts_of_evaluation, facts_of_line
from skpneumo.reporting._card_training import facts_of_training
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._markdown import one_line, plain, within_section
from skpneumo.reporting._model_facts import digest_of_judged, sees_images
from skpneumo.reporting._templates import check_installed, fill_in

_LICENSE = "License"
_LISTED = 20  # names that are wrong, in an error
_IN_THE_HEAD = ("sensitivity", "specificity", "roc_auc", "accuracy", "brier_score")

_COLLECTIONS = ("kermany",)
_HEADING = re.compile(r"^(#{2,3} .+)$", re.MULTILINE)
_MARK = re.compile(r"\[To be filled in: [^\]]*\]$")


class _Section(NamedTuple):
    """A heading, and what is known under it, or a mark, or both."""

    heading: str
    text: str

    @property
    def name(self) -> str:
        return self.heading.lstrip("# ")


def model_card(
    clf: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    evaluation: Evaluation | None = None,
    sections: Mapping[str, str] | None = None,
    collection: str | None = None,
    test_name: str | None = None,
    title: str = "Classifier of chest X-rays",
) -> str:
    """Write the model card of a fitted classifier, in Markdown with the headings of Hugging Face's template.

    What the model and its evaluation tell is filled in. What they cannot tell, such as who may use the model, is marked
    ``[To be filled in: ...]``, and never invented.

    Parameters
    ----------
    clf : estimator instance
        Fitted `PneumoniaClassifier`, or a search, a tuned threshold or a calibration around one.
    path : str or pathlib.Path, default=None
        File that the card is written to, all of it or nothing. A model repository names it ``README.md``.
    evaluation : Evaluation, default=None
        What `report` returns for this model and test images. None: the sections on performance are marked. What is
        around the model, such as a calibration of one model, has to be the same too, which is not checked.
    sections : mapping of str to str, default=None
        Text by name of the section, in Markdown. It takes the place of the mark, below what is known. HTML and headings
        in it are shown as they are written, and so are fences of code that does not end, or does not begin at the
        margin. A "License" of one lower-case word, as Hugging Face's short names are
        ("bsd-3-clause"), also enters the machine-readable head.
    collection : {None, "kermany"}, default=None
        The public collection that all training images are from, where they are: population, labels and acquisition are
        described then. The model itself cannot tell.
    test_name : str, default=None
        Name of the collection of the test images. With `evaluation`, the head lists the results under it.
    title : str, default="Classifier of chest X-rays"
        Title of the card.

    Returns
    -------
    str
        The card.

    Raises
    ------
    ImportError
        Jinja2 or PyYAML is not installed.
    TypeError, NotFittedError
        There is no fitted `PneumoniaClassifier` in `clf`, or several; `evaluation` is none; `sections` is no mapping,
        `test_name` no text.
    ValueError
        `sections` has names that the card lacks, all of which are named, or an empty text; the evaluation is of another
        model, of several or of none that is known; parameters of the model that shape features have changed since the
        fit, or parameters are such as no fit takes.

    Notes
    -----
    Parameters are told as they are now. Of those that shape features a change since the fit is refused, but for one set
    of weights in the place of another, since none is read. Of those of the head and of its training, such as `alpha`,
    and of those of prediction, a change cannot be told unless no fit would take it: a fit does not keep them beside
    what it has learnt.

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
    >>> "[To be filled in: who made the model]" in card
    True
    """
    check_installed("model_card", "jinja2", "yaml")
    inner = check_inner(clf)
    check_parameters_of_fit(inner)
    if evaluation is not None:
        _check_evaluation(evaluation, inner)
    if collection is not None and collection not in _COLLECTIONS:
        raise ValueError(f"collection must be None or one of {', '.join(map(repr, _COLLECTIONS))}; got {collection!r}.")
    if test_name is not None and not isinstance(test_name, str):
        raise TypeError(f"test_name must be a text, or None; got {shortened(repr(test_name))}.")
    facts = _facts(clf, inner, evaluation)
    start, parts = _parted(fill_in("model_card.md", finalize=_escaped, title=title, collection=collection, **facts))
    texts = _check_texts(sections, [part.name for part in parts if part.text])
    head = _front_matter(_head(inner, evaluation, texts.get(_LICENSE), test_name, title))
    card = "\n\n".join([head, start, *(_written(part, texts.get(part.name)) for part in parts)]) + "\n"
    if path is not None:
        write_whole(path, card)
    return card


def _facts(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> dict[str, Any]:
    facts = {"evaluation": evaluation, **facts_of_model(clf, inner), **facts_of_training(clf, inner)}
    facts |= facts_of_line(clf, inner, evaluation)
    return facts if evaluation is None else facts | facts_of_evaluation(clf, inner, evaluation, facts.get("line"))


def _escaped(value: Any) -> Any:
    """Escape what the template prints, but for what it calls safe."""
    return value if hasattr(value, "__html__") else plain(value)


def _parted(card: str) -> tuple[str, list[_Section]]:
    """Part a card into what stands above its sections, and these."""
    start, *parts = _HEADING.split(re.sub("\n{3,}", "\n\n", card))
    return start.strip(), [_Section(*map(str.strip, each)) for each in zip(parts[::2], parts[1::2], strict=True)]


def _written(section: _Section, text: str | None) -> str:
    """Write a section, with a text of the user in the place of its mark."""
    blocks = [section.text] if text is None else [_MARK.sub("", section.text).strip(), within_section(text)]
    return "\n\n".join(filter(None, [section.heading, *blocks]))


def _check_evaluation(evaluation: Any, inner: PneumoniaClassifier) -> None:
    if not isinstance(evaluation, Evaluation):
        raise TypeError(f"evaluation must be what report returns; got {type(evaluation).__name__}.")
    classes = inner.classes_.tolist()
    if {*map(str, evaluation.labels)} != {*map(str, classes)}:
        raise ValueError(
            f"The evaluation is of the classes {list(evaluation.labels)}, but the classes of the model are {classes}: "
            "pass what report returns for this model."
        )
    if evaluation.model_digest is None:
        raise ValueError(
            "The evaluation is of no PneumoniaClassifier, or of several at once, so it is not known to be of this "
            "model: pass what report returns for this model."
        )
    if evaluation.model_digest != digest_of_judged(inner):
        raise ValueError(
            "The evaluation is of another model of these classes, by the digests of what they have learnt: pass what "
            "report returns for this model."
        )


def _check_texts(texts: Mapping[str, str] | None, names: list[str]) -> dict[str, str]:
    """Return the texts of the user by section; `names` are those that the card has.

    Raises
    ------
    TypeError, ValueError
        Some names are of no section, or some texts are none; it names all of them.
    """
    if not isinstance(texts, (Mapping, type(None))):
        raise TypeError(f"sections must be a mapping from names of sections to texts; got {shortened(repr(texts))}.")
    texts = dict(texts or {})
    unknown = [name for name in texts if name not in names]
    if unknown:
        listed = ", ".join(shortened(repr(name), 100) for name in unknown[:_LISTED])
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise ValueError(f"The card has no sections {listed}{more}; its sections are {', '.join(map(repr, names))}.")
    wrong = [
        f"{name!r} is {shortened(repr(text))}"
        for name, text in texts.items()
        if not (isinstance(text, str) and text.strip())
    ]
    if wrong:
        raise ValueError(f"Each of sections must be a text that is not empty; {', '.join(wrong)}.")
    return texts


def _head(
    inner: PneumoniaClassifier,
    evaluation: Evaluation | None,
    license_name: str | None,
    test_name: str | None,
    title: str,
) -> dict[str, Any]:
    """Return what machines read; it holds nothing that is not known."""
    head: dict[str, Any] = {"library_name": "skpneumo"}
    if license_name and license_name.strip().replace("-", "").replace(".", "").isalnum() and license_name.islower():
        head["license"] = license_name.strip()
    if sees_images(inner):
        head["pipeline_tag"] = "image-classification"
    tags = ["chest-x-ray", "medical-imaging", "scikit-learn"]
    head["tags"] = [*tags, "transfer-learning", "vgg19"] if sees_images(inner) else tags
    if evaluation is None:
        return head
    known = [(name, evaluation.performance[name].estimate) for name in _IN_THE_HEAD]
    head["metrics"] = [name for name, _ in known]
    if test_name is not None:
        results = {
            "task": {"type": "image-classification" if sees_images(inner) else "tabular-classification"},
            "dataset": {"type": _slug(test_name), "name": one_line(test_name)},
            "metrics": [{"type": name, "value": round(float(value), 4)} for name, value in known],
        }
        head["model-index"] = [{"name": one_line(title), "results": [results]}]
    return head


def _slug(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", ascii_only).strip("-") or "test-images"


def _front_matter(head: dict[str, Any]) -> str:
    import yaml

    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=math.inf)}---"
