"""Render the templates of the report and of the model card with Jinja2."""

import importlib.util
from collections.abc import Callable
from typing import Any


def check_installed(function: str, *packages: str) -> None:
    """Raise ImportError if optional packages are not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{function} requires {' and '.join(missing)}, which could not be found. Install with "
            "'pip install \"skpneumo[report]\"'."
        )


def render(template: str, /, *, finalize: Callable[[Any], Any] | None = None, **contents: Any) -> str:
    """Render a template of this package.

    Values are escaped in HTML; for other formats, `finalize` is applied to each printed value.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skpneumo.reporting"),
        autoescape=jinja2.select_autoescape(["html"]),
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(contents)
