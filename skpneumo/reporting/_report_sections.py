"""Contents of the report by section."""

import hashlib
from collections.abc import Mapping, Sequence
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skpneumo._images.sources import base_name
from skpneumo._model_state import versions
from skpneumo._utils.messages import list_items, plain, shortened
from skpneumo._utils.meta_estimators import chain
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.metrics._confusion import surest_errors
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._model_facts import (
    IMAGES_NOT_RECORDED,
    NOVEL,
    can_be_novel,
    has_frozen_model,
    holds_patients,
    is_fitted_on_images,
    parameters_of,
    threshold_origin,
)
from skpneumo.reporting._report_tables import Metric, Number, count, decimal, metric, threshold_number

_SUBGROUP_METRICS = ("sensitivity", "specificity", "roc_auc")
_MAX_PAIRS = 20
_MAX_CHARACTERS = 100  # of an invalid value in an error message
_NO_FINDING = ("nothing found", "the same in all")
_AUDIT_COLUMNS = ("check", "kind", "n", "auc", "lower", "upper", "verdict")


class Statement(NamedTuple):
    """A proportion as a number of images, with `filled` of `drawn` dots filled."""

    before: str
    number: str
    after: str
    filled: int
    drawn: int
    metric: Metric


class SubgroupRow(NamedTuple):
    """A row of a table of subgroups."""

    value: str
    n: Number
    n_positive: Number
    n_patients: Number | None
    metrics: Sequence[Metric | None]


class Error(NamedTuple):
    """An image with a wrong prediction."""

    position: int
    name: str
    kind: str
    label: str
    predicted: str
    probability: Number
    novelty: Number | None


def of_hundred(proportion: float) -> str:
    """Format a proportion as a number out of 100 that is 0 or 100 only if exact."""
    rounded = f"{100 * proportion:.0f}"
    if rounded == "100" and proportion < 1:
        return "more than 99"
    return "fewer than 1" if rounded == "0" and proportion > 0 else rounded


def dots_of_hundred(proportion: float) -> int:
    """Return the number of filled dots out of 100, which is 0 or 100 only if exact."""
    return int(np.clip(round(100 * proportion), proportion > 0, 100 - (proportion < 1)))


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return the main metrics and the sample size."""
    performance = evaluation.performance
    sensitivity, specificity = (
        metric(f"headline.{name}", performance[name]) for name in ("sensitivity", "specificity")
    )
    stated = performance.stated_prevalence
    suffix = "" if stated is None else "_at_prevalence"
    prevalence = performance.prevalence if stated is None else stated
    ppv, npv, roc_auc = (
        metric(f"headline.{name}", performance[key])
        for name, key in (("ppv", f"ppv{suffix}"), ("npv", f"npv{suffix}"), ("roc_auc", "roc_auc"))
    )
    return {
        "statements": [
            _statement("positive", performance.tp, performance.fn, sensitivity),
            _statement("negative", performance.tn, performance.fp, specificity),
        ],
        "ppv": ppv,
        "npv": npv,
        "roc_auc": roc_auc,
        "intervals": _which_have_intervals([sensitivity, specificity, ppv, npv, roc_auc]),
        "prevalence": decimal("headline.prevalence", prevalence),
        "is_stated": stated is not None,
        "n": count("headline.n", performance.n),
        "n_patients": count("headline.n_patients", performance.n_patients) if performance.has_groups else None,
        "share_positive": decimal("headline.share_positive", performance.prevalence),
        "threshold": threshold_number("headline.threshold", performance.threshold),
    }


def _which_have_intervals(metrics: Sequence[Metric]) -> str:
    """Return whether "all", "some" or "none" of the defined metrics have an interval."""
    has_limits = {each.lower is not None for each in metrics if not np.isnan(each.estimate.value)}
    return "some" if len(has_limits) == 2 else "all" if has_limits == {True} else "none"


def _statement(kind: str, right: int, wrong: int, proportion: Metric) -> Statement:
    """Describe a proportion as a number out of 100, or out of all images if there are fewer."""
    n = right + wrong
    is_scaled = n >= 100
    number = of_hundred(right / n) if is_scaled else str(right)
    counts = f" ({right} of {n})" if is_scaled else ""
    return Statement(
        f"Of {100 if is_scaled else n} {kind} image{'' if n == 1 else 's'},",
        number,
        f"{'is' if number == '1' else 'are'} predicted {kind}{counts}.",
        dots_of_hundred(right / n) if is_scaled else right,
        100 if is_scaled else n,
        proportion,
    )


def subgroup_tables(evaluation: Evaluation) -> dict[str, list[SubgroupRow]]:
    """Return the rows of each table of subgroups, with a last row for all images."""
    tables: dict[str, list[SubgroupRow]] = {}
    for each in evaluation.subgroups:
        name = f"subgroups.{each.column}.{each.value}"
        row = SubgroupRow(
            each.value,
            count(f"{name}.n", each.n),
            count(f"{name}.n_positive", each.n_positive),
            count(f"{name}.n_patients", each.n_patients) if evaluation.performance.has_groups else None,
            [
                metric(f"{name}.{kind}", each.figures[kind]) if kind in each.figures else None
                for kind in _SUBGROUP_METRICS
            ],
        )
        tables.setdefault(each.column, []).append(row)
    return {column: [*rows, _all_images(evaluation, f"subgroups.{column}")] for column, rows in tables.items()}


def _all_images(evaluation: Evaluation, name: str) -> SubgroupRow:
    """Return the row of all images."""
    performance = evaluation.performance
    return SubgroupRow(
        "All images",
        count(f"{name}.n", performance.n),
        count(f"{name}.n_positive", performance.tp + performance.fn),
        count(f"{name}.n_patients", performance.n_patients) if performance.has_groups else None,
        [metric(f"{name}.{kind}", performance[kind]) for kind in _SUBGROUP_METRICS],
    )


def most_confident_errors(evaluation: Evaluation, n_errors: int, *, file_names: bool) -> list[Error]:
    """Return the most confident false negatives, then the most confident false positives."""
    negative, positive = evaluation.target_names
    shown = []
    kinds = (("False negative", positive, negative), ("False positive", negative, positive))
    errors = surest_errors(evaluation.y, evaluation.proba, evaluation.predicted_positive, n_errors)
    for (kind, label, predicted), positions in zip(kinds, errors, strict=True):
        for position in positions.tolist():
            known = evaluation.names[position] if file_names else None
            novelty = evaluation.novelty
            shown.append(
                Error(
                    position,
                    known or f"image {position}",
                    kind,
                    label,
                    predicted,
                    decimal(f"failures.{position}.probability", evaluation.proba[position]),
                    None if novelty is None else decimal(f"failures.{position}.novelty", novelty[position]),
                )
            )
    return shown


def flow(clf: Any, evaluation: Evaluation, excluded: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Return the numbers of images and patients at each stage."""
    performance = evaluation.performance
    excluded_counts = None
    if excluded is not None:
        numbers = {str(reason): _number_of(value) for reason, value in excluded.items()}
        excluded_counts = {
            "reasons": [(reason, count(f"flow.excluded.{reason}", n)) for reason, n in numbers.items()],
            "n": count("flow.excluded", sum(numbers.values())),
            "considered": count("flow.considered", performance.n + sum(numbers.values())),
        }
    names = ("tp", "fn", "tn", "fp")
    return {
        "excluded": excluded_counts,
        "n": count("flow.n", performance.n),
        "n_patients": count("flow.n_patients", performance.n_patients) if performance.has_groups else None,
        "n_positive": count("flow.n_positive", performance.tp + performance.fn),
        "n_negative": count("flow.n_negative", performance.tn + performance.fp),
        **{name: count(f"flow.{name}", getattr(performance, name)) for name in names},
        "training": _training(clf, evaluation.names_by_label),
    }


def _training(clf: Any, names: Mapping[str, str]) -> dict[str, Any] | None:
    inner = inner_classifier(clf)
    if inner is None:
        return None
    summary = inner.training_summary_
    of_patients = summary["n_patients_by_class"] or [None] * len(inner.classes_)
    by_class = [
        (
            names[str(label)],
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
    """Return the overlap of test and training images."""
    seen = evaluation.seen
    pairs = None
    if overlap is not None:
        kinds = list(dict.fromkeys(each.kind for each in overlap))
        listed = overlap[:_MAX_PAIRS] if file_names else ()
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
    """Return the results of `audit_xrays` without paths: rows with findings, and names of checks without."""
    if audit is None:
        return None
    rows: list[dict[str, Any]] = []
    no_finding: dict[str, list[str]] = {}
    for position, record in enumerate(audit.to_dict("records")):
        if record["verdict"] in _NO_FINDING:
            no_finding.setdefault(record["verdict"], []).append(str(record["check"]))
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
    return {"rows": sorted(rows, key=lambda row: not row["is_finding"]), "no_finding": no_finding}


def novelty(evaluation: Evaluation) -> dict[str, Any] | None:
    """Return the number of images that are unlike the training images."""
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


def threshold_source(clf: Any, *, is_given: bool) -> str:
    """Describe where the threshold comes from."""
    return "stated by the author of this report" if is_given else threshold_origin(clf)


def model(clf: Any, model_file: Path | None) -> dict[str, Any]:
    """Return types, parameters, digests and versions of the model."""
    inner = inner_classifier(clf)
    fitted = {} if inner is None else inner.versions_
    current = versions()
    digests = []
    if inner is not None:
        digests = [
            ("Weights of the frozen layers", inner.weights_digest_),
            ("Backbone and preprocessing", inner.backbone_fingerprint_),
        ]
    if model_file is not None:
        digests.append((f"File {model_file.name} (SHA-256)", hashlib.sha256(model_file.read_bytes()).hexdigest()))
    return {
        "types": [type(each).__name__ for each in chain(clf)],
        "parameters": [] if inner is None else _non_default_parameters(inner),
        "digests": [(name, value) for name, value in digests if value],
        "versions": [(name, fitted.get(name), current.get(name)) for name in dict.fromkeys([*current, *fitted])],
        "n_layers": None if inner is None or not is_fitted_on_images(inner) else inner.n_layers,
        "can_be_novel": can_be_novel(clf),
        "holds_patients": holds_patients(clf),
        "images_not_recorded": IMAGES_NOT_RECORDED if has_frozen_model(clf) else None,
    }


def _non_default_parameters(inner: Any) -> list[tuple[str, str, str]]:
    defaults = {name: repr(each.default) for name, each in signature(type(inner)).parameters.items()}
    values = {name: repr(plain(value)) for name, value in parameters_of(inner).items()}
    return [(name, shortened(value, 100), defaults[name]) for name, value in values.items() if value != defaults[name]]


def code(evaluation: Evaluation, model_file: Path | None, *, groups: str, pos_label: Any) -> str:
    """Return code that reproduces the metrics."""
    performance = evaluation.performance
    keywords = [
        f"    threshold={performance.threshold!r},",
        f"    groups={groups},",
        f"    prevalence={performance.stated_prevalence!r},",
        f"    confidence={performance.confidence!r},",
        f"    pos_label={plain(pos_label)!r},",
    ]
    of_patients = "" if groups == "None" else f"; {groups}: their patients"
    name = "model.joblib" if model_file is None else model_file.name
    return "\n".join(
        [
            "from skpneumo import load_model",
            "from skpneumo.metrics import DiagnosticReport",
            "",
            f"clf = load_model({name!r})",
            f"# X: test images; y: their labels{of_patients}",
            "metrics = DiagnosticReport.from_estimator(",
            "    clf, X, y,",
            *keywords,
            ")",
            "print(metrics)",
        ]
    )


def check_excluded(excluded: Any) -> None:
    """Raise ValueError unless `excluded` maps reasons to counts or lists."""
    if excluded is None:
        return
    if not hasattr(excluded, "items"):
        raise ValueError(
            "excluded must be a mapping of reasons to numbers of images or to lists of images; got "
            f"{shortened(repr(excluded), _MAX_CHARACTERS)}."
        )
    pairs = [(plain(reason), plain(value)) for reason, value in excluded.items()]
    wrong = [f"{reason!r}: {value!r}" for reason, value in pairs if not _is_count_or_list(value)]
    if wrong:
        raise ValueError(
            "Values of excluded must be non-negative numbers of images or lists of images; fix or remove "
            f"{list_items(wrong)}."
        )


def _is_count_or_list(value: Any) -> bool:
    if isinstance(value, (bool, str, bytes)):
        return False
    return int(value) >= 0 if isinstance(value, Integral) else hasattr(value, "__len__")


def _number_of(value: Any) -> int:
    return int(value) if isinstance(value, Integral) else len(value)


def check_audit(audit: Any) -> None:
    """Raise ValueError unless `audit` has the columns of `audit_xrays`."""
    if audit is None:
        return
    missing = [name for name in _AUDIT_COLUMNS if name not in getattr(audit, "columns", ())]
    if missing:
        raise ValueError(f"audit must be the result of audit_xrays; it lacks the columns {', '.join(missing)}.")


def check_overlap(overlap: Any) -> None:
    """Raise ValueError unless `overlap` is a list as returned by `check_splits`."""
    if overlap is None:
        return
    parts = ("kind", "train", "test")
    is_list = isinstance(overlap, (list, tuple))
    wrong = [repr(each) for each in overlap if not all(hasattr(each, part) for part in parts)] if is_list else []
    if not is_list or wrong:
        raise ValueError(
            f"overlap must be the list returned by check_splits; got {list_items(wrong or [repr(overlap)])}."
        )
