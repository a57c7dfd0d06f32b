"""A model card: what is known of a model, and marks for what only its makers know."""

import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images.sources import shortened
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.reporting import _card_model as facts
from skpneumo.reporting import _card_performance as performance
from skpneumo.reporting import _card_training as training
from skpneumo.reporting._atomic_write import write_whole
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._markdown import plain, prose, yaml
from skpneumo.reporting._model_facts import digest_of_judged, sees_images

_ASK_FOR_REPORT = "pass what report returns for test images as evaluation"
_LICENSE = "License"
_LISTED = 20  # names that are wrong, in an error
_IN_THE_HEAD = ("sensitivity", "specificity", "roc_auc", "accuracy", "brier_score")

_COLLECTIONS = {
    "kermany": {
        "Training Population": (
            "As stated by who made this card, the training images are from the collection of Kermany, Zhang and "
            "Goldbaum (2018): films of children of one to five years from one hospital, the Guangzhou Women and "
            "Children's Medical Center, made in routine care and collected afterwards. The model has seen no adult and "
            "no other hospital, and was trained on these labels alone."
        ),
        "Reference Standard": (
            "Labels are those of that collection: films of poor quality were removed, two physicians graded the "
            "others, and a third one checked the labels of that collection's folder `test` alone. Described in D. S. "
            "Kermany et al., Cell 172, 2018, doi 10.1016/j.cell.2018.02.010."
        ),
        "Image Acquisition": (
            "Anterior-posterior films, published as JPEG files. In these files colour mode, embedded metadata and "
            "aspect ratio differ between the classes."
        ),
        "Availability": "That collection: Mendeley Data, doi 10.17632/rscbjbr9sj, licence CC BY 4.0.",
    }
}

# A block of code at the margin, from its fence to the first one that ends it.
_CODE = re.compile(
    r"^(?P<fence>(?P<mark>[`~])(?P=mark){2,})(?!(?P=mark))[^`\n]*\n(?:.*\n)*? {0,3}(?P=fence)(?P=mark)*[ \t]*$",
    re.MULTILINE,
)


class Section(NamedTuple):
    """A heading and what stands under it: blocks that are known, and what is to be filled in."""

    level: int
    name: str
    blocks: list[str]
    ask: str | None = None

    @property
    def is_leaf(self) -> bool:
        """Tell whether there is text under it, and not headings alone."""
        return bool(self.blocks) or self.ask is not None


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
    inner = check_inner(clf)
    facts.check_parameters_of_fit(inner)
    if evaluation is not None:
        _check_evaluation(evaluation, inner)
    if collection is not None and collection not in _COLLECTIONS:
        raise ValueError(f"collection must be None or one of {', '.join(map(repr, _COLLECTIONS))}; got {collection!r}.")
    if test_name is not None and not isinstance(test_name, str):
        raise TypeError(f"test_name must be a text, or None; got {shortened(repr(test_name))}.")
    parts = _sections(clf, inner, evaluation, _COLLECTIONS.get(collection or "", {}))
    texts = _check_texts(sections, parts)
    head = yaml(_head(inner, evaluation, texts.get(_LICENSE), test_name, title))
    blocks = [f"---\n{head}\n---", f"# {plain(title)}"]
    for part in parts:
        blocks += _written(part, texts.get(part.name))
    card = "\n\n".join(blocks) + "\n"
    if path is not None:
        write_whole(path, card)
    return card


def _written(part: Section, text: str | None) -> list[str]:
    mark = [f"[To be filled in: {part.ask}]"] if part.ask else []
    return [f"{'#' * part.level} {part.name}", *part.blocks, *(mark if text is None else [_within_section(text)])]


def _within_section(text: str) -> str:
    """Let blocks of code that end stand as they are: nothing in them can leave the section."""
    blocks, start, text = [], 0, "\n".join(text.splitlines())
    for match in _CODE.finditer(text):
        code = "".join(each for each in match[0] if each in "\n\t" or each.isprintable())
        blocks += [prose(text[start : match.start()]), code]
        start = match.end()
    return "\n\n".join(filter(None, [*blocks, prose(text[start:])]))


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


def _check_texts(texts: Mapping[str, str] | None, parts: list[Section]) -> dict[str, str]:
    """Return the texts of the user by section.

    Raises
    ------
    TypeError, ValueError
        Some names are of no section, or some texts are none; it names all of them.
    """
    if not isinstance(texts, (Mapping, type(None))):
        raise TypeError(f"sections must be a mapping from names of sections to texts; got {shortened(repr(texts))}.")
    texts = dict(texts or {})
    names = [part.name for part in parts if part.is_leaf]
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
            "dataset": {"type": _slug(test_name), "name": test_name},
            "metrics": [{"type": name, "value": round(value, 4)} for name, value in known],
        }
        head["model-index"] = [{"name": title, "results": [results]}]
    return head


def _slug(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", ascii_only).strip("-") or "test-images"


def _sections(
    clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None, stated: Mapping[str, str]
) -> list[Section]:
    return [
        *_details(clf, inner),
        *_uses(clf, inner, evaluation),
        *_training(clf, inner, evaluation, stated),
        *_evaluation(clf, inner, evaluation),
        *_technical(inner),
        *_others(stated),
    ]


def _asked(level: int, name: str, ask: str, stated: Mapping[str, str]) -> Section:
    """Return a section that the user may have described by naming the collection."""
    return Section(level, name, [stated[name]]) if name in stated else Section(level, name, [], ask)


def _details(clf: Any, inner: PneumoniaClassifier) -> list[Section]:
    return [
        Section(2, "Model Details", []),
        Section(3, "Model Description", [facts.description(clf, inner)]),
        Section(3, "Developers", [], "who made the model"),
        Section(
            3, "Funding and Conflicts of Interest", [], "who paid for it, their part in it, and interests to declare"
        ),
        Section(3, _LICENSE, [], "under what terms the model may be used"),
        Section(3, "Model Sources", [], "where the model, its code and a paper on it are"),
    ]


def _uses(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> list[Section]:
    return [
        Section(2, "Uses", []),
        Section(
            3,
            "Direct Use",
            ["Research and teaching."],
            "who may use it, for which patients, at what point of care, with what training, and for what purpose",
        ),
        Section(
            3,
            "Out-of-Scope Use",
            [
                "Diagnosis, triage and treatment of patients. Images of another kind than those of the training, and "
                "patients of another kind."
            ],
        ),
        Section(2, "Bias, Risks, and Limitations", []),
        Section(
            3,
            "Limitations",
            [facts.limitations(clf, inner, evaluation)],
            "what limits the study: its sample, its labels, what was not tested",
        ),
        Section(
            3,
            "Bias and Fairness",
            [],
            "how care and data differ between groups of patients, as far as is known, and what was done about it",
        ),
        Section(
            3,
            "Recommendations",
            [
                "Measure the model on films of the place where it is studied, with labels, before its output is looked "
                "at. Choose thresholds and calibrate there, on other patients. State figures with intervals, "
                "specificity beside sensitivity. Let no decision rest on it.",
                *facts.poor_images(inner),
            ],
        ),
        Section(
            3,
            "Ethical Considerations",
            [facts.privacy(inner)],
            "which board approved the study, how consent was given or waived, and how patients' names were removed",
        ),
        Section(2, "How to Get Started with the Model", facts.getting_started(clf, inner)),
    ]


def _training(
    clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None, stated: Mapping[str, str]
) -> list[Section]:
    return [
        Section(2, "Training Details", []),
        Section(3, "Training Data", training.training_data(inner)),
        _asked(
            3,
            "Training Population",
            "who the patients are: source, setting, countries and dates, collected for the study or before it, age, "
            "sex, how ill they were and how treated",
            stated,
        ),
        Section(
            3,
            "Data Selection",
            [],
            "which images were included and excluded and why, what was missing, and how their number was decided",
        ),
        _asked(3, "Image Acquisition", "machines, projection and settings that the films were made with", stated),
        _asked(
            3,
            "Reference Standard",
            "how the labels were made, by whom, why so, what those who made them knew, and how well they agree",
            stated,
        ),
        Section(
            3,
            "Partitions",
            training.partitions(clf, inner, evaluation),
            "how images were divided into training, tuning and test images, and whether by patient",
        ),
        Section(3, "Preprocessing", training.preprocessing(inner)),
        Section(3, "Training Procedure", training.training_procedure(inner)),
        Section(3, "Training Hyperparameters", [training.hyperparameters(inner)]),
        Section(3, "Model Selection", training.selection(clf), "how this model was chosen, and among how many"),
    ]


def _evaluation(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> list[Section]:
    known: dict[str, Callable[[Evaluation], list[str]]] = {
        "Testing Data": partial(performance.testing_data, inner),
        "Metrics": performance.metrics,
        "Results": performance.results,
        "Calibration": performance.calibration,
        "Subgroups": performance.subgroups,
        "Failure Analysis": performance.failures,
    }
    asked = {
        "Testing Data": "source, setting and dates of the test images, and how they differ from the training images",
        "Subgroups": "figures for groups of patients, such as by age and sex, or why there are none",
        "Failure Analysis": "what the wrongly called images have in common",
    }

    def section(name: str) -> Section:
        if evaluation is None:
            return Section(3, name, [], _ASK_FOR_REPORT)
        return Section(3, name, known[name](evaluation), asked.get(name))

    return [
        Section(2, "Evaluation", []),
        section("Testing Data"),
        Section(
            3,
            "Operating Point",
            performance.operating_point(clf, inner, evaluation),
            "why the line is drawn there: what a missed case and a false alarm cost",
        ),
        *map(section, ("Metrics", "Results", "Calibration", "Subgroups", "Failure Analysis")),
        Section(
            3, "External Testing", [], "figures from another site, or that there are none; what was updated after it"
        ),
        Section(3, "Robustness", [], "figures under changed films, machines or settings, or that there are none"),
    ]


def _technical(inner: PneumoniaClassifier) -> list[Section]:
    return [
        Section(2, "Model Examination", [], "what heat maps and other methods showed, and how far these were checked"),
        Section(2, "Technical Specifications", []),
        Section(3, "Model Architecture and Objective", facts.architecture(inner)),
        Section(3, "Initialization", [facts.initialization(inner)]),
        Section(3, "Compute Infrastructure", [], "what machine the model was trained on, and for how long"),
        Section(3, "Software", [facts.software(inner)]),
        Section(3, "Digests", [facts.digests(inner)]),
        Section(3, "Reproduction", [training.reproduction(inner)]),
    ]


def _others(stated: Mapping[str, str]) -> list[Section]:
    data = [stated["Availability"]] if "Availability" in stated else []
    return [
        Section(
            2, "Availability", data, "where the data, the code and the model can be had, and under what restrictions"
        ),
        Section(2, "Study Registration and Protocol", [], "register, number and protocol, or that there are none"),
        Section(2, "Patient and Public Involvement", [], "how patients and the public took part, or that they did not"),
        Section(2, "Citation", [], "how the model is to be cited"),
        Section(2, "Model Card Authors", [], "who wrote this card"),
        Section(2, "Model Card Contact", [], "whom to ask"),
    ]
