"""Fill in the templates of the report and of the model card by Jinja2."""

import importlib.util
from collections.abc import Callable
from typing import Any


def check_installed(function: str, *packages: str) -> None:
    """Refuse to begin without packages that are not installed, all of which are named."""
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    if lacking:
        raise ImportError(
            f"{function} needs {' and '.join(lacking)}, which cannot be found: install with "
            "'pip install \"skpneumo[report]\"'."
        )


def fill_in(template: str, /, *, finalize: Callable[[Any], Any] | None = None, **contents: Any) -> str:
    """Return a template of this package with its contents.

    In HTML whatever comes from users is escaped; in other formats by `finalize`, which gets each value that is printed.
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
