"""Load, download, audit and generate data sets of chest X-rays."""

from skpneumo.datasets._audit import audit_xrays
from skpneumo.datasets._dicom import load_dicom
from skpneumo.datasets._folder import load_chest_xrays
from skpneumo.datasets._kermany import fetch_chest_xrays
from skpneumo.datasets._pneumoniamnist import fetch_pneumoniamnist
from skpneumo.datasets._synthetic import make_chest_xrays
from skpneumo.datasets._table import load_xray_table

__all__ = [
    "audit_xrays",
    "fetch_chest_xrays",
    "fetch_pneumoniamnist",
    "load_chest_xrays",
    "load_dicom",
    "load_xray_table",
    "make_chest_xrays",
]
