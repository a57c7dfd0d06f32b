"""Metrics of diagnostic accuracy with confidence intervals, and scorers that scikit-learn lacks."""

from skpneumo.metrics._operating_points import (
    sensitivity_at_specificity,
    sensitivity_at_specificity_scorer,
    specificity_at_sensitivity,
    specificity_at_sensitivity_scorer,
)
from skpneumo.metrics._report import DiagnosticReport, diagnostic_report

__all__ = [
    "DiagnosticReport",
    "diagnostic_report",
    "sensitivity_at_specificity",
    "sensitivity_at_specificity_scorer",
    "specificity_at_sensitivity",
    "specificity_at_sensitivity_scorer",
]
