"""Estimates with confidence intervals, and the quantiles and variances that intervals are computed from."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri, stdtrit


class Interval(NamedTuple):
    """An estimate, its confidence interval, and the method of the interval."""

    estimate: float
    lower: float
    upper: float
    method: str


class Patients(NamedTuple):
    """The patient of each image, as codes from 0 to `n` - 1."""

    codes: np.ndarray
    n: int

    @property
    def are_clusters(self) -> bool:
        """Whether some patients have several images."""
        return self.n < len(self.codes)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of the images of each patient."""
        return np.bincount(self.codes, values, self.n)

    def among(self, rows: np.ndarray) -> "Patients":
        """Return the patients of the images selected by a mask."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        return Patients(codes, len(kept))

    def effective_count(self) -> float:
        """Return the effective sample size if images of a patient are copies of each other (Kish)."""
        sizes = np.bincount(self.codes, minlength=self.n)
        return float(sizes.sum() ** 2 / (sizes**2).sum())

    def covariance(self, first: np.ndarray, second: np.ndarray) -> float:
        """Estimate the covariance of two statistics from the influence of each image on them."""
        total = float(self.totals(first) @ self.totals(second))
        if not self.are_clusters:
            return total
        return total * self.n / (self.n - 1) if self.n > 1 else np.nan

    def variance(self, influence: np.ndarray) -> float:
        """Estimate the variance of a statistic from the influence of each image on it."""
        return self.covariance(influence, influence)

    def quantile(self, confidence: float, influence: np.ndarray | None = None) -> float:
        """Return the half-width of an interval in standard errors.

        With clusters, it is a quantile of Student's t distribution. If few patients dominate the variance, the degrees
        of freedom are reduced (Satterthwaite).
        """
        level = (1 + confidence) / 2
        if not self.are_clusters:
            return float(ndtri(level))
        if self.n < 2:
            return np.nan
        return float(stdtrit(self._degrees(influence), level))

    def _degrees(self, influence: np.ndarray | None) -> float:
        n_max = self.n - 1
        if influence is None:
            return n_max
        squares = self.totals(influence) ** 2
        spread = ((squares - squares.mean()) ** 2).sum()
        return float(np.clip(2 * squares.sum() ** 2 / spread, 1, n_max)) if spread > 0 else n_max


def undefined(method: str, estimate: float = np.nan) -> Interval:
    """Return an estimate without an interval."""
    return Interval(estimate, np.nan, np.nan, method)


def wald(estimate: float, variance: float, quantile: float) -> tuple[float, float]:
    """Return the Wald interval."""
    half_width = quantile * np.sqrt(variance)
    return float(estimate - half_width), float(estimate + half_width)


def wald_of_logit(estimate: float, variance: float, quantile: float) -> tuple[float, float]:
    """Return the Wald interval on the logit scale, which keeps it between 0 and 1."""
    lower, upper = wald(logit(estimate), variance / (estimate * (1 - estimate)) ** 2, quantile)
    return float(expit(lower)), float(expit(upper))


def wilson(estimate: float, count: float, quantile: float) -> tuple[float, float]:
    """Return the Wilson interval of a proportion among `count`, which may be fractional."""
    square = quantile**2 / count
    center = (estimate + square / 2) / (1 + square)
    half_width = np.sqrt(square * (estimate * (1 - estimate) + square / 4)) / (1 + square)
    lower = 0.0 if estimate == 0 else center - half_width
    upper = 1.0 if estimate == 1 else center + half_width
    return float(lower), float(upper)


def mean_interval(values: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Average values between 0 and 1, with the Wilson interval at their effective sample size."""
    clustered = patients.are_clusters
    binary = bool(np.isin(values, (0, 1)).all())
    method = ("Wilson" if binary else "Wilson, effective n") + (", patients" if clustered else "")
    if not len(values) or patients.n < 2:
        return undefined(method, float(values.mean()) if len(values) else np.nan)
    estimate = float(values.mean())
    count, influence = float(len(values)), None
    if clustered or not binary:
        influence = (values - estimate) / len(values)
        variance = patients.variance(influence)
        # A variance of 0 gives no effective sample size, so images of a patient count as copies of each other.
        count = estimate * (1 - estimate) / variance if variance > 0 else patients.effective_count()
    return Interval(estimate, *wilson(estimate, count, patients.quantile(confidence, influence)), method)
