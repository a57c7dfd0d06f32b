"""Where estimators are documented: scikit-learn's pictures of them link there."""

from importlib.metadata import PackageNotFoundError, metadata

__all__ = ["DocumentationLinkMixin"]


class DocumentationLinkMixin:
    """Links the picture of an estimator to its page in the documentation, wherever the package says that this is.

    Without an address in the metadata of the installed package there is no link.
    """

    _doc_link_module = "skpneumo"

    @property
    def _doc_link_template(self) -> str:
        address = documentation_address()
        return f"{address}/api/generated/{{estimator_module}}.{{estimator_name}}.html" if address else ""


def documentation_address() -> str:
    """Read the address of the documentation, without a slash at its end, from the package's metadata; "" if none."""
    try:
        links = metadata("skpneumo").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from the sources
        return ""
    label_and_address = (link.partition(",") for link in links)
    addresses = [address for label, _, address in label_and_address if label.strip().lower() == "documentation"]
    return addresses[0].strip().rstrip("/") if addresses else ""
