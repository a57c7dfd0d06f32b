"""Run code in new processes, for measurements that depend on the state of the process."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def run(code: str, *arguments: str) -> str:
    """Run code in a new process and return the last line of its output."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = done.stderr.strip().splitlines()
        raise RuntimeError(errors[-1] if errors else f"the process exited with status {done.returncode}")
    return done.stdout.strip().splitlines()[-1]


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process, with JSON arguments and result."""
    code = (
        f"import json, sys; from {function.__module__} import {function.__name__} as function; "
        "print(json.dumps(function(*json.loads(sys.argv[1]))))"
    )
    return json.loads(run(code, json.dumps(arguments)))
