"""Time to import the package and to load a model relative to the import of their dependencies."""

import ast
import functools
import json
import operator
import os
import sys
from functools import partial
from pathlib import Path

import joblib
import numpy as np

from skpneumo import PneumoniaClassifier
from tests.benchmarks import fresh
from tests.benchmarks.data import HEAD, Setting
from tests.benchmarks.table import Measurement, Row, compare

FILES = """
import json, sys, skpneumo
names = [name for name in sys.modules if name.split(".")[0] == "skpneumo"]
print(json.dumps([sys.modules[name].__file__ for name in names]))
"""
TIMED = """
import sys, time
start = time.perf_counter()
{}
print(1e3 * (time.perf_counter() - start))
if "tensorflow" in sys.modules:
    sys.exit("TensorFlow was imported")
"""


def rows(setting: Setting) -> list[Row]:
    return [
        Row("import skpneumo / import its dependencies", "<= 1.15", partial(importing, setting)),
        Row("load a model - import its dependencies", "< 50 ms", partial(loading, setting)),
    ]


def importing(setting: Setting) -> Measurement:
    imports = dependency_imports()
    return compare(
        lambda: _milliseconds("import skpneumo"),
        lambda: _milliseconds(imports),
        setting.pick(5, 15),
        unit="ms",
        note=f"New processes. The peer runs the {len(imports.splitlines())} imports of other packages at the top of "
        "the modules of skpneumo.",
    )


def loading(setting: Setting) -> Measurement:
    random = np.random.RandomState(0)
    clf = PneumoniaClassifier(None, n_layers=16, image_size=224, norm=None, **HEAD)
    clf.fit(random.rand(40, 8_192), np.arange(40) % 2)
    file = os.path.join(setting.new_folder(), "model.joblib")
    joblib.dump(clf, file)
    imports = f"import joblib\n{dependency_imports()}"
    return compare(
        lambda: _milliseconds(f"import joblib\njoblib.load({file!r})"),
        lambda: _milliseconds(imports),
        setting.pick(5, 15),
        unit="ms",
        by=operator.sub,
        note=f"New processes. A linear probe on 8,192 features, {os.path.getsize(file) / 1e3:.0f} KB; TensorFlow must "
        "not be imported.",
    )


@functools.cache
def dependency_imports() -> str:
    """Collect the top-level imports of other packages in the modules that `import skpneumo` loads."""
    files = json.loads(fresh.run(FILES))
    lines = {
        ast.unparse(node)
        for file in files
        for node in ast.parse(Path(file).read_text(encoding="utf-8")).body
        if _is_dependency_import(node)
    }
    return "\n".join(sorted(lines))


def _is_dependency_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        package = (node.module or "").split(".")[0]
    elif isinstance(node, ast.Import):
        package = node.names[0].name.split(".")[0]
    else:
        return False
    return package != "skpneumo" and package not in sys.stdlib_module_names


def _milliseconds(code: str) -> float:
    return float(fresh.run(TIMED.format(code)))
