"""Table of recipes: metrics with 95 % confidence intervals for each source, paired differences, and cost."""

from collections.abc import Iterable, Iterator

import numpy as np

from tests.benchmarks.shifts.metrics import METRICS, Site, draw_weights, interval, measure, specificity_loss, summarize
from tests.benchmarks.shifts.records import Record

_REFERENCE = "default"
_TITLES = {"plain": "", "mean": " changed", "worst": " worst", "combined": " combined"}

Sites = dict[Site, np.ndarray]
Columns = dict[str, np.ndarray]  # metrics by title


def tables(group: list[Record], verbose: bool = False) -> str:
    """Format the results of comparable records.

    Parameters
    ----------
    group : list of dict
        Records of the same images and changes.
    verbose : bool
        Whether to add a row for each source, change and strength.

    Returns
    -------
    str
        The tables.
    """
    weights = {source: draw_weights(part["patients"]) for source, part in group[0]["sources"].items()}
    measured = {record["recipe"]: _measured(record, weights) for record in group}
    summaries = {
        name: {source: summarize(sites) for source, sites in sources.items()} for name, sources in measured.items()
    }
    columns = {name: _columns(summary) for name, summary in summaries.items()}
    lines = [*_heading(group), *_summary(columns, _costs(group))]
    for source, summary in next(iter(summaries.values())).items():
        if "combined" in summary:
            losses = {name: specificity_loss(summary[source]) for name, summary in summaries.items()}
            lines += _losses(source, losses)
    if verbose:
        lines += [line for name, sources in measured.items() for line in _by_site(name, sources)]
    return "\n".join(lines)


def _measured(record: Record, weights: dict[str, np.ndarray]) -> dict[str, Sites]:
    """Compute the metrics of a recipe by source, change and strength."""
    measured: dict[str, Sites] = {}
    for source, part in record["sources"].items():
        y, shift = np.array(part["y"]), np.array(part["shifts"])[part["folds"]]
        measured[source] = {
            (name, strength): measure(y, np.array(logits), np.array(logits) + shift, weights[source])
            for (name, strength), logits in zip(part["sites"], part["logits"], strict=True)
        }
    return measured


def _columns(summary: dict[str, dict[str, np.ndarray]]) -> Columns:
    return {
        f"{source}{_TITLES[name]}": metrics for source, columns in summary.items() for name, metrics in columns.items()
    }


def _heading(group: list[Record]) -> Iterator[str]:
    record = group[0]
    yield ", ".join(f"{name} {value}" for name, value in record["setting"].items() if value is not None)
    yield from record.get("machine", [])
    for source, part in record["sources"].items():
        names = list(dict.fromkeys(name for name, _ in part["sites"][1:]))
        strengths = sorted({strength for _, strength in part["sites"][1:]})
        changes = f"; changes at strengths {', '.join(map(str, strengths))}: {', '.join(names)}" if names else ""
        yield (
            f"{source}: {len(part['y'])} held-out images of {len(set(part['patients']))} patients, "
            f"{sum(part['y'])} with pneumonia{changes}"
        )
    yield "changed: mean over the single changes; worst: worst single change; combined: mean over the combined changes."
    yield "In brackets: 95 % bootstrap confidence intervals clustered by patient. Differences are paired."
    if record["cost"]:
        fit, predict = (f"{step} {record['cost'][f'n_{step}']} images" for step in ("fit", "predict"))
        seconds = ", ".join(f"{record['cost'][step]:.1f} s" for step in ("fit", "predict"))
        yield f"Time to {fit} and to {predict} without feature store, relative to {record['recipe']} ({seconds})."


def _costs(group: list[Record]) -> dict[str, list[str]]:
    """Return the times of each recipe relative to the first."""
    first = group[0]["cost"]
    return {
        record["recipe"]: [
            f"{record['cost'][step] / first[step]:.2f}" if first and record["cost"] else "-"
            for step in ("fit", "predict")
        ]
        for record in group
    }


def _summary(recipes: dict[str, Columns], costs: dict[str, list[str]]) -> Iterator[str]:
    reference = recipes.get(_REFERENCE)
    for i, metric in enumerate(METRICS):
        yield ""
        yield _row(metric, next(iter(recipes.values())), ["fit", "predict"])
        for name, columns in recipes.items():
            yield _row(name, [_estimate(values[i]) for values in columns.values()], costs[name])
        for name, columns in recipes.items():
            if reference is not None and name != _REFERENCE:
                differences = [_estimate(values[i] - reference[title][i], "+") for title, values in columns.items()]
                yield _row(f"  {name} - {_REFERENCE}", differences)


def _losses(source: str, losses: dict[str, np.ndarray]) -> Iterator[str]:
    yield ""
    yield _row(f"loss of specificity, {source} combined", ["loss", f"loss / loss of {_REFERENCE}"])
    reference = losses.get(_REFERENCE)
    for name, loss in losses.items():
        ratio = ""
        if reference is not None and interval(reference)[1] > 0:  # the ratio is undefined without a loss
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = _estimate(loss / reference)
        yield _row(name, [_estimate(loss), ratio])


def _by_site(name: str, sources: dict[str, Sites]) -> Iterator[str]:
    yield ""
    yield _row(name, METRICS)
    for source, sites in sources.items():
        for (change, strength), metrics in sites.items():
            yield _row(f"  {source} {change} {strength or ''}", map(_estimate, metrics))


def _estimate(values: np.ndarray, sign: str = "") -> str:
    middle, low, high = (f"{value:{sign}.3f}" for value in interval(values))
    return f"{middle} [{low}, {high}]"


def _row(name: str, cells: Iterable[str], costs: Iterable[str] = ()) -> str:
    return f"{name:<38}{''.join(f'{c:>26}' for c in cells)}{''.join(f'{c:>9}' for c in costs)}".rstrip()
