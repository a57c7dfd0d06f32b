"""Print a table of benchmarks: skpneumo, a reference implementation (peer), their ratio or difference, and the target.

Run from the root of the repository: ``python -m tests.benchmarks --quick``, or without ``--quick`` for larger sizes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # for Keras in the child processes

from tests.benchmarks import (
    machine,
    memory,
    passes,
    plain_keras,
    processes,
    reports,
    search,
    single,
    startup,
    table,
    tuning,
    warm,
)
from tests.benchmarks.data import Setting
from tests.benchmarks.table import Row

MODULES = (passes, search, warm, single, startup, processes, plain_keras, memory, tuning, reports)


def rows(setting: Setting, only: list[str]) -> Iterator[Row]:
    """Yield the rows whose name contains one of the texts in `only`, or all rows if it is empty."""
    for module in MODULES:
        for row in module.rows(setting):
            if not only or any(text.lower() in row.name.lower() for text in only):
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes: about ten minutes on two cores")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only rows whose name contains NAME"
    )
    parser.add_argument("--list", action="store_true", help="list the names of the rows and exit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKPNEUMO_CACHE"] = os.path.join(folder, "cache")
        setting = Setting(options.quick, folder)
        chosen = list(rows(setting, options.only))
        if not chosen:
            parser.error(f"no row name contains one of {options.only}; use --list to see all names")
        if options.list:
            print(*(row.name for row in chosen), sep="\n")
            return
        start = time.perf_counter()
        print(*machine.facts(), "", table.head(), sep="\n", flush=True)
        for row in chosen:
            begun = time.perf_counter()
            try:
                text = table.line(row, row.measure())
            except Exception as error:
                text = table.failure(row, error)
            print(text, f"    [{time.perf_counter() - begun:.0f} s to measure]", sep="\n", flush=True)
        print(f"\n{time.perf_counter() - start:.0f} s in total")


if __name__ == "__main__":
    main()
