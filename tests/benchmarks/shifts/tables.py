"""Tables of recipes: metrics with 95 % confidence intervals, paired differences to the probe, and cost."""

from collections.abc import Iterator

import numpy as np

from tests.benchmarks.shifts.metrics import METRICS, Site, draw_weights, interval, measure, specificity_loss, summarize
from tests.benchmarks.shifts.records import Record

_REFERENCE = "probe"
_TITLES = {
    "plain": "original",
    "mean": "mean of changes",
    "worst": "worst change",
    "combined": "combined",
}

Sites = dict[Site, np.ndarray]


def tables(group: list[Record], verbose: bool = False) -> str:
    """Format the results of comparable records.

    Parameters
    ----------
    group : list of dict
        Records of the same images and changes.
    verbose : bool
        Whether to add a row for each change and strength.

    Returns
    -------
    str
        The tables.
    """
    weights = draw_weights(group[0]["patients"])
    sites = {record["recipe"]: _measured(record, weights) for record in group}
    summaries = {name: summarize(measured) for name, measured in sites.items()}
    lines = [*_heading(group[0]), *_summary(sites, summaries), *_costs(group, summaries)]
    if verbose:
        lines += [line for name, measured in sites.items() for line in _by_site(name, measured)]
    return "\n".join(lines)


def _measured(record: Record, weights: np.ndarray) -> Sites:
    y = np.array(record["y"])
    rows = zip(record["sites"], record["logits"], strict=True)
    return {(name, strength): measure(y, np.array(logits), weights) for (name, strength), logits in rows}


def _heading(record: Record) -> Iterator[str]:
    names = list(dict.fromkeys(name for name, _ in record["sites"][1:]))
    strengths = sorted({strength for _, strength in record["sites"][1:]})
    yield ", ".join(f"{name} {value}" for name, value in record["setting"].items())
    yield from record.get("machine", [])
    yield (
        f"{len(record['y'])} held-out images of {len(set(record['patients']))} patients, {sum(record['y'])} with "
        f"pneumonia; {len(names)} changes at strengths {', '.join(map(str, strengths))}: {', '.join(names)}"
    )
    yield "In brackets: 95 % bootstrap confidence intervals clustered by patient. Differences are paired."


def _summary(sites: dict[str, Sites], summaries: dict[str, dict[str, np.ndarray]]) -> Iterator[str]:
    columns = list(next(iter(summaries.values())))
    reference = summaries.get(_REFERENCE)
    for i, metric in enumerate(METRICS):
        yield ""
        yield _row(metric, *(_TITLES[column] for column in columns), "worst change" if "worst" in columns else "")
        for name, summary in summaries.items():
            cells = [_estimate(summary[column][i]) for column in columns]
            yield _row(name, *cells, _worst(sites[name], i) if "worst" in columns else "")
        for name, summary in summaries.items():
            if reference is not None and name != _REFERENCE:
                yield _row(
                    f"  {name} - {_REFERENCE}", *(_estimate(summary[c][i] - reference[c][i], "+") for c in columns)
                )


def _worst(measured: Sites, metric: int) -> str:
    single = [site for site in measured if site[0] != "plain" and not site[0].startswith("combined")]
    return " ".join(map(str, min(single, key=lambda site: measured[site][metric, 0])))


def _costs(group: list[Record], summaries: dict[str, dict[str, np.ndarray]]) -> Iterator[str]:
    costs = {record["recipe"]: record["cost"] for record in group if record["cost"]}
    if costs:
        yield ""
        yield _row("cost without feature store", "fit", "predict", "fit / probe", "predict / probe")
        first = costs.get(_REFERENCE)
        for name, cost in costs.items():
            ratios = [f"{cost[step] / first[step]:.2f}" if first else "" for step in ("fit", "predict")]
            seconds = [f"{cost[step]:.1f} s ({cost[f'n_{step}']} images)" for step in ("fit", "predict")]
            yield _row(name, *seconds, *ratios)
    if "combined" in next(iter(summaries.values())):
        yield ""
        reference = specificity_loss(summaries[_REFERENCE]) if _REFERENCE in summaries else None
        yield _row("loss of specificity, combined", "loss", "loss / loss of probe")
        for name, summary in summaries.items():
            ratio = ""
            if reference is not None and interval(reference)[1] > 0:  # the ratio is undefined without a loss
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = _estimate(specificity_loss(summary) / reference)
            yield _row(name, _estimate(specificity_loss(summary)), ratio)


def _by_site(name: str, measured: Sites) -> Iterator[str]:
    yield ""
    yield _row(name, *METRICS)
    for (change, strength), metrics in measured.items():
        yield _row(f"  {change} {strength or ''}", *map(_estimate, metrics))


def _estimate(values: np.ndarray, sign: str = "") -> str:
    middle, low, high = (f"{value:{sign}.3f}" for value in interval(values))
    return f"{middle} [{low}, {high}]"


def _row(name: str, *cells: str) -> str:
    return f"{name:<30}{''.join(f'{cell:>26}' for cell in cells)}".rstrip()
