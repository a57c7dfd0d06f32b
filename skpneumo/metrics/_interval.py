"""An estimate with its interval, and the quantiles and variances that intervals are made of."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri, stdtrit


class Interval(NamedTuple):
    """A figure, its interval, and how that was made."""

    estimate: float
    lower: float
    upper: float
    method: str


class Patients(NamedTuple):
    """Which patient each image shows: codes from 0 to `n` - 1."""

    codes: np.ndarray
    n: int

    @property
    def are_clusters(self) -> bool:
        """Tell whether some patient has several images."""
        return self.n < len(self.codes)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of each patient's images."""
        return np.bincount(self.codes, values, self.n)

    def among(self, rows: np.ndarray) -> "Patients":
        """Keep the images of a mask, and the patients that have one of them."""
        kept, codes = np.unique(self.codes[rows], return_inverse=True)
        return Patients(codes, len(kept))

    def effective_count(self) -> float:
        """Count images as if those of one patient were copies of each other (Kish)."""
        sizes = np.bincount(self.codes, minlength=self.n)
        return float(sizes.sum() ** 2 / (sizes**2).sum())

    def covariance(self, first: np.ndarray, second: np.ndarray) -> float:
        """Estimate the covariance of two figures from what each image adds to them."""
        total = float(self.totals(first) @ self.totals(second))
        if not self.are_clusters:
            return total
        return total * self.n / (self.n - 1) if self.n > 1 else np.nan

    def variance(self, influence: np.ndarray) -> float:
        """Estimate the variance of a figure from what each image adds to it."""
        return self.covariance(influence, influence)

    def quantile(self, confidence: float, influence: np.ndarray | None = None) -> float:
        """Return how many standard errors an interval reaches.

        Where images form clusters it is Student's. A variance that rests on few of the patients is known less well than
        their number says, and has fewer degrees of freedom (Satterthwaite).
        """
        level = (1 + confidence) / 2
        if not self.are_clusters:
            return float(ndtri(level))
        if self.n < 2:
            return np.nan
        return float(stdtrit(self._degrees(influence), level))

    def _degrees(self, influence: np.ndarray | None) -> float:
        most = self.n - 1
        if influence is None:
            return most
        squares = self.totals(influence) ** 2
        spread = ((squares - squares.mean()) ** 2).sum()
        return float(np.clip(2 * squares.sum() ** 2 / spread, 1, most)) if spread > 0 else most


def undefined(method: str, estimate: float = np.nan) -> Interval:
    """Return a figure that has no interval."""
    return Interval(estimate, np.nan, np.nan, method)


def wald(estimate: float, variance: float, quantile: float) -> tuple[float, float]:
    """Reach as far to either side."""
    reach = quantile * np.sqrt(variance)
    return float(estimate - reach), float(estimate + reach)


def wald_of_logit(estimate: float, variance: float, quantile: float) -> tuple[float, float]:
    """Reach as far to either side on the logit scale, which ends at 0 and 1."""
    lower, upper = wald(logit(estimate), variance / (estimate * (1 - estimate)) ** 2, quantile)
    return float(expit(lower)), float(expit(upper))


def wilson(estimate: float, count: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion among `count`, which need not be whole."""
    square = quantile**2 / count
    centre = (estimate + square / 2) / (1 + square)
    reach = np.sqrt(square * (estimate * (1 - estimate) + square / 4)) / (1 + square)
    lower = 0.0 if estimate == 0 else centre - reach
    upper = 1.0 if estimate == 1 else centre + reach
    return float(lower), float(upper)


def mean_interval(values: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Average values between 0 and 1: Wilson's interval, on as many images as their variance says they are worth."""
    clustered = patients.are_clusters
    binary = bool(np.isin(values, (0, 1)).all())
    method = ("Wilson" if binary else "Wilson, by variance") + (", patients" if clustered else "")
    if not len(values) or patients.n < 2:
        return undefined(method, float(values.mean()) if len(values) else np.nan)
    estimate = float(values.mean())
    count, influence = float(len(values)), None
    if clustered or not binary:
        influence = (values - estimate) / len(values)
        variance = patients.variance(influence)
        # Without any spread the variance says nothing: then a patient's images count as copies of one.
        count = estimate * (1 - estimate) / variance if variance > 0 else patients.effective_count()
    return Interval(estimate, *wilson(estimate, count, patients.quantile(confidence, influence)), method)
