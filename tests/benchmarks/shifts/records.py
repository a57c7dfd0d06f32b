"""Records of runs as lines of JSON: one per recipe, with the logit of every image under every change."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append(path: str | Path, record: Record) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def load(paths: Iterable[str | Path]) -> list[Record]:
    return [json.loads(line) for path in paths for line in Path(path).read_text(encoding="utf-8").splitlines()]


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Group records of the same images, changes and setting; keep the last record of each recipe."""
    groups: dict[str, dict[str, Record]] = {}
    for record in records:
        images = {
            source: [part[name] for name in ("sites", "images", "folds")] for source, part in record["sources"].items()
        }
        groups.setdefault(json.dumps([record["setting"], images]), {})[record["recipe"]] = record
    return [list(group.values()) for group in groups.values()]
