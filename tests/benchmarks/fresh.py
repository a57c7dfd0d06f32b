"""Fresh processes, for what depends on what a process has done before."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def run(code: str, *arguments: str) -> str:
    """Run code in a process of its own and return the last line that it prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[-1] if said else f"the process ended with {done.returncode}")
    return done.stdout.strip().splitlines()[-1]


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a process of its own; what goes in and comes out is JSON."""
    code = (
        f"import json, sys; from {function.__module__} import {function.__name__} as function; "
        "print(json.dumps(function(*json.loads(sys.argv[1]))))"
    )
    return json.loads(run(code, json.dumps(arguments)))
