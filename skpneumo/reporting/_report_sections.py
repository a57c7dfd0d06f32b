"""What a report says, section by section, in plain Python; nothing is drawn or written here."""

import hashlib
from collections.abc import Mapping, Sequence
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skpneumo._images.sources import base_name, shortened, some_of
from skpneumo._model_state import versions
from skpneumo._utils.meta_estimators import chain
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.metrics._confusion import surest_errors
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._model_facts import (
    NOT_REMEMBERED,
    NOVEL,
    can_be_novel,
    forgets,
    knows_patients,
    origin_of_threshold,
    parameters_of,
    sees_images,
)
from skpneumo.reporting._report_tables import Figure, Number, count, cut, decimal, figure

_SUBGROUP_FIGURES = ("sensitivity", "specificity", "roc_auc")
_PAIRS_LISTED = 20
_LETTERS = 100  # of what cannot be used
_SILENT = ("nothing found", "the same in all")
_AUDIT_COLUMNS = ("check", "kind", "n", "auc", "lower", "upper", "verdict")


class Statement(NamedTuple):
    """A figure said in images; of those that are drawn, `filled` are full."""

    before: str
    number: str
    after: str
    filled: int
    drawn: int
    figure: Figure
    counts: str


class SubgroupRow(NamedTuple):
    """A part of the images."""

    value: str
    n: Number
    n_positive: Number
    n_patients: Number | None
    figures: Sequence[Figure | None]


class Failure(NamedTuple):
    """An image that is called wrongly."""

    position: int
    name: str
    kind: str
    label: str
    called: str
    probability: Number
    novelty: Number | None


def of_hundred(share: float) -> str:
    """Say a share as a number out of 100, and never all or none where it is not."""
    rounded = f"{100 * share:.0f}"
    if rounded == "100" and share < 1:
        return "more than 99"
    return "fewer than 1" if rounded == "0" and share > 0 else rounded


def dots_of_hundred(share: float) -> int:
    """Return how many of 100 dots are full: as `of_hundred`, never all or none where it is not."""
    return int(np.clip(round(100 * share), share > 0, 100 - (share < 1)))


def headline(evaluation: Evaluation) -> dict[str, Any]:
    """Return what is to be read in five seconds."""
    performance = evaluation.performance
    sensitivity, specificity = (
        figure(f"headline.{name}", performance[name]) for name in ("sensitivity", "specificity")
    )
    stated = performance.stated_prevalence
    suffix = "" if stated is None else "_at_prevalence"
    share = performance.prevalence if stated is None else stated
    ppv, npv, roc_auc = (
        figure(f"headline.{name}", performance[key])
        for name, key in (("ppv", f"ppv{suffix}"), ("npv", f"npv{suffix}"), ("roc_auc", "roc_auc"))
    )
    return {
        "statements": [
            _statement("the ill", "ill", performance.tp, performance.fn, sensitivity),
            _statement("the others", "not ill", performance.tn, performance.fp, specificity),
        ],
        "ppv": ppv,
        "npv": npv,
        "roc_auc": roc_auc,
        "intervals": _how_many_have_intervals([sensitivity, specificity, ppv, npv, roc_auc]),
        "prevalence": decimal("headline.prevalence", share),
        "is_stated": stated is not None,
        "n": count("headline.n", performance.n),
        "n_patients": count("headline.n_patients", performance.n_patients) if performance.has_groups else None,
        "share_positive": decimal("headline.share_positive", performance.prevalence),
        "threshold": cut("headline.threshold", performance.threshold),
    }


def _how_many_have_intervals(figures: Sequence[Figure]) -> str:
    """Return "all", "some" or "none" of the figures that are defined: that of a single patient has no interval."""
    has_limits = {each.lower is not None for each in figures if not np.isnan(each.estimate.value)}
    return "some" if len(has_limits) == 2 else "all" if has_limits == {True} else "none"


def _statement(whom: str, called: str, right: int, wrong: int, share: Figure) -> Statement:
    """Say a share of at least 100 images as one of 100; fewer do not tell as much, so they are counted."""
    n = right + wrong
    is_share = n >= 100
    number = of_hundred(right / n) if is_share else str(right)
    return Statement(
        f"Of {100 if is_share else n} image{'' if n == 1 else 's'} of {whom},",
        number,
        f"{'is' if number == '1' else 'are'} called {called}.",
        dots_of_hundred(right / n) if is_share else right,
        100 if is_share else n,
        share,
        f"{right} of {n}",
    )


def subgroup_tables(evaluation: Evaluation) -> dict[str, list[SubgroupRow]]:
    """Return rows of subgroups by the column that they are told by; the last row is of all images."""
    tables: dict[str, list[SubgroupRow]] = {}
    for each in evaluation.subgroups:
        name = f"subgroups.{each.column}.{each.value}"
        row = SubgroupRow(
            each.value,
            count(f"{name}.n", each.n),
            count(f"{name}.n_positive", each.n_positive),
            count(f"{name}.n_patients", each.n_patients) if evaluation.performance.has_groups else None,
            [
                figure(f"{name}.{kind}", each.figures[kind]) if kind in each.figures else None
                for kind in _SUBGROUP_FIGURES
            ],
        )
        tables.setdefault(each.column, []).append(row)
    return {column: [*rows, _all_images(evaluation, f"subgroups.{column}")] for column, rows in tables.items()}


def _all_images(evaluation: Evaluation, name: str) -> SubgroupRow:
    """Return what parts are compared with."""
    performance = evaluation.performance
    return SubgroupRow(
        "all images",
        count(f"{name}.n", performance.n),
        count(f"{name}.n_positive", performance.tp + performance.fn),
        count(f"{name}.n_patients", performance.n_patients) if performance.has_groups else None,
        [figure(f"{name}.{kind}", performance[kind]) for kind in _SUBGROUP_FIGURES],
    )


def failures(evaluation: Evaluation, n_errors: int, *, file_names: bool) -> list[Failure]:
    """Return the surest errors: those missed, then false alarms."""
    negative, positive = map(str, evaluation.labels)
    found = []
    kinds = (("missed", positive, negative), ("false alarm", negative, positive))
    errors = surest_errors(evaluation.y, evaluation.proba, evaluation.predicted_positive, n_errors)
    for (kind, label, called), positions in zip(kinds, errors, strict=True):
        for position in positions.tolist():
            known = evaluation.names[position] if file_names else None
            novelty = evaluation.novelty
            found.append(
                Failure(
                    position,
                    known or f"image {position}",
                    kind,
                    label,
                    called,
                    decimal(f"failures.{position}.probability", evaluation.proba[position]),
                    None if novelty is None else decimal(f"failures.{position}.novelty", novelty[position]),
                )
            )
    return found


def flow(clf: Any, evaluation: Evaluation, excluded: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Return how many images and patients go which way."""
    performance = evaluation.performance
    without = None
    if excluded is not None:
        numbers = {str(reason): _number_of(value) for reason, value in excluded.items()}
        without = {
            "reasons": [(reason, count(f"flow.excluded.{reason}", n)) for reason, n in numbers.items()],
            "n": count("flow.excluded", sum(numbers.values())),
            "considered": count("flow.considered", performance.n + sum(numbers.values())),
        }
    names = ("tp", "fn", "tn", "fp")
    return {
        "excluded": without,
        "n": count("flow.n", performance.n),
        "n_patients": count("flow.n_patients", performance.n_patients) if performance.has_groups else None,
        "n_positive": count("flow.n_positive", performance.tp + performance.fn),
        "n_negative": count("flow.n_negative", performance.tn + performance.fp),
        **{name: count(f"flow.{name}", getattr(performance, name)) for name in names},
        "training": _training(clf),
    }


def _training(clf: Any) -> dict[str, Any] | None:
    inner = inner_classifier(clf)
    if inner is None:
        return None
    summary = inner.training_summary_
    of_patients = summary["n_patients_by_class"] or [None] * len(inner.classes_)
    by_class = [
        (
            str(label),
            count(f"training.{label}.n_images", n_images),
            None if n_patients is None else count(f"training.{label}.n_patients", n_patients),
        )
        for label, n_images, n_patients in zip(inner.classes_, summary["n_images_by_class"], of_patients, strict=True)
    ]
    n_patients = summary["n_patients"]
    return {
        "kind": summary["kind"],
        "n_images": count("training.n_images", summary["n_images"]),
        "n_patients": None if n_patients is None else count("training.n_patients", n_patients),
        "n_held_out": count("training.n_held_out", summary["n_held_out"]),
        "n_views": count("training.n_views", summary["n_views"]),
        "by_class": by_class,
    }


def leakage(evaluation: Evaluation, overlap: Sequence[Any] | None, *, file_names: bool) -> dict[str, Any]:
    """Return what the test images share with the training."""
    seen = evaluation.seen
    pairs = None
    if overlap is not None:
        kinds = list(dict.fromkeys(each.kind for each in overlap))
        listed = overlap[:_PAIRS_LISTED] if file_names else ()
        pairs = {
            "n": count("leakage.pairs", len(overlap)),
            "kinds": [(kind, count(f"leakage.{kind}", sum(each.kind == kind for each in overlap))) for kind in kinds],
            "listed": [(each.kind, base_name(each.train), base_name(each.test)) for each in listed],
        }
    return {
        "n": count("leakage.n", evaluation.performance.n),
        "seen": None
        if seen is None
        else (count("leakage.images", seen[:, 0].sum()), count("leakage.patients", seen[:, 1].sum())),
        "are_images_compared": evaluation.are_images_compared,
        "are_patients_named": evaluation.patients is not None,
        "pairs": pairs,
    }


def audit_rows(audit: Any) -> dict[str, Any] | None:
    """Return what `audit_xrays` has found, without paths: rows that say something, and names of those that do not."""
    if audit is None:
        return None
    rows: list[dict[str, Any]] = []
    silent: dict[str, list[str]] = {}
    for position, record in enumerate(audit.to_dict("records")):
        if record["verdict"] in _SILENT:
            silent.setdefault(record["verdict"], []).append(str(record["check"]))
            continue
        name = f"audit.{position}"
        is_compared = record["auc"] == record["auc"]
        row = {
            "check": str(record["check"]),
            "verdict": str(record["verdict"]),
            "is_finding": record["kind"] == "finding" or record["verdict"] in ("suspicious", "in one class alone"),
            "n": count(f"{name}.n", record["n"]),
            "auc": decimal(f"{name}.auc", record["auc"]) if is_compared else None,
        }
        rows.append(row)
    return {"telling": sorted(rows, key=lambda row: not row["is_finding"]), "silent": silent}


def novelty(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return how many images are unlike those of the training."""
    values = evaluation.novelty
    if values is None:
        return None
    novel = values <= NOVEL
    return {
        "n": count("novelty.n", novel.sum()),
        "of": count("novelty.of", len(values)),
        "share": decimal("novelty.share", novel.mean()),
        "level": NOVEL,
        "expected": f"{100 * NOVEL:g} %",
    }


def source_of_threshold(clf: Any, *, is_given: bool) -> str:
    """Say where the line between ill and not comes from."""
    return "stated by the author of this report" if is_given else origin_of_threshold(clf)


def model(clf: Any, model_file: Path | None) -> dict[str, Any]:
    """Return what the model is: types, parameters, digests, versions."""
    inner = inner_classifier(clf)
    then = {} if inner is None else inner.versions_
    now = versions()
    digests = []
    if inner is not None:
        digests = [
            ("Weights of the frozen layers", inner.weights_digest_),
            ("Backbone with its preprocessing", inner.backbone_fingerprint_),
        ]
    if model_file is not None:
        digests.append((f"File {model_file.name} (SHA-256)", hashlib.sha256(model_file.read_bytes()).hexdigest()))
    return {
        "types": [type(each).__name__ for each in chain(clf)],
        "parameters": [] if inner is None else _unusual_parameters(inner),
        "digests": [(name, value) for name, value in digests if value],
        "versions": [(name, then.get(name), now.get(name)) for name in dict.fromkeys([*now, *then])],
        "n_layers": None if inner is None or not sees_images(inner) else inner.n_layers,
        "can_be_novel": can_be_novel(clf),
        "knows_patients": knows_patients(clf),
        "not_remembered": NOT_REMEMBERED if forgets(clf) else None,
    }


def _unusual_parameters(inner: Any) -> list[tuple[str, str, str]]:
    defaults = {name: repr(each.default) for name, each in signature(type(inner)).parameters.items()}
    return [
        (name, shortened(repr(value), 100), defaults[name])
        for name, value in parameters_of(inner).items()
        if repr(value) != defaults[name]
    ]


def code(evaluation: Evaluation, model_file: Path | None, *, groups: str, pos_label: Any) -> str:
    """Return code that gives the figures again."""
    performance = evaluation.performance
    others = [
        f"    threshold={performance.threshold!r},",
        f"    groups={groups},",
        f"    prevalence={performance.stated_prevalence!r},",
        f"    confidence={performance.confidence!r},",
        f"    pos_label={getattr(pos_label, 'tolist', lambda: pos_label)()!r},",
    ]
    of_patients = "" if groups == "None" else f"; {groups}: their patients"
    name = "model.joblib" if model_file is None else model_file.name
    return "\n".join(
        [
            "from skpneumo import load_model",
            "from skpneumo.metrics import DiagnosticReport",
            "",
            f"clf = load_model({name!r})",
            f"# X: the images judged here; y: their labels{of_patients}",
            "figures = DiagnosticReport.from_estimator(",
            "    clf, X, y,",
            *others,
            ")",
            "print(figures)",
        ]
    )


def check_excluded(excluded: Any) -> None:
    """Refuse what is no mapping from reasons to numbers or lists."""
    if excluded is None:
        return
    if not hasattr(excluded, "items"):
        raise ValueError(
            "excluded must be a mapping from reasons to numbers of images, or to lists of them; got "
            f"{shortened(repr(excluded), _LETTERS)}."
        )
    wrong = [f"{reason!r}: {value!r}" for reason, value in excluded.items() if not _is_count_or_list(value)]
    if wrong:
        raise ValueError(
            "excluded maps each reason to a number of images, 0 or more, or to a list of them; it does not for "
            f"{some_of(wrong)}."
        )


def _is_count_or_list(value: Any) -> bool:
    if isinstance(value, (bool, str, bytes)):
        return False
    return int(value) >= 0 if isinstance(value, Integral) else hasattr(value, "__len__")


def _number_of(value: Any) -> int:
    return int(value) if isinstance(value, Integral) else len(value)


def check_audit(audit: Any) -> None:
    """Refuse what `audit_xrays` has not made."""
    if audit is None:
        return
    lacking = [name for name in _AUDIT_COLUMNS if name not in getattr(audit, "columns", ())]
    if lacking:
        raise ValueError(f"audit must be the DataFrame that audit_xrays returns; it has no {', '.join(lacking)}.")


def check_overlap(overlap: Any) -> None:
    """Refuse what `check_splits` has not made."""
    if overlap is None:
        return
    parts = ("kind", "train", "test")
    is_list = isinstance(overlap, (list, tuple))
    wrong = [repr(each) for each in overlap if not all(hasattr(each, part) for part in parts)] if is_list else []
    if not is_list or wrong:
        raise ValueError(
            f"overlap must be the list that check_splits returns; got {some_of(wrong or [repr(overlap)])}."
        )
