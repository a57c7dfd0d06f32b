"""Link from the HTML representation of an estimator to its documentation."""

from importlib.metadata import PackageNotFoundError, metadata

__all__ = ["DocumentationLinkMixin"]


class DocumentationLinkMixin:
    """Mixin that links the HTML representation of an estimator to its page of the API reference.

    There is no link if the metadata of the installed package contain no address.
    """

    _doc_link_module = "skpneumo"

    @property
    def _doc_link_template(self) -> str:
        address = documentation_address()
        return f"{address}/api/generated/{{estimator_module}}.{{estimator_name}}.html" if address else ""


def documentation_address() -> str:
    """Return the address of the documentation from the package metadata, without final slash; "" if none."""
    try:
        links = metadata("skpneumo").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from the sources
        return ""
    label_and_address = (link.partition(",") for link in links)
    addresses = [address for label, _, address in label_and_address if label.strip().lower() == "documentation"]
    return addresses[0].strip().rstrip("/") if addresses else ""
