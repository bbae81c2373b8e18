"""Stratified estimators of map accuracy and of class areas, each with its standard error and 95 % interval.

One ratio estimator gives all of them: Stehman (2014), https://doi.org/10.1080/01431161.2014.930207, equations 3 and 21
to 28. Where the strata are the map's classes they equal equations 1 to 11 of Olofsson et al. (2014),
https://doi.org/10.1016/j.rse.2014.02.015, which leave out the finite population correction; here it enters where more
than 5 % of a stratum was sampled (Cochran 1977, Sampling Techniques, section 2.6).
"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
SMALL_FRACTION = 0.05  # of a stratum, below which a sample is as one of an infinite population


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error, with an interval that stays within what is possible; NaN: nothing to estimate."""

    value: float
    standard_error: float
    highest: float = 1.0
    lowest: float = 0.0

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval, before it is cut."""
        return Z_95 * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, within the lowest and the highest possible value."""
        return max(self.lowest, self.value - self.half_width), min(self.highest, self.value + self.half_width)

    def times(self, factor: float) -> "Estimate":
        """Return the estimate in another unit."""
        scaled = (each * factor for each in (self.value, self.standard_error, self.highest, self.lowest))
        return Estimate(*scaled)

    def record(self) -> dict[str, Any] | None:
        """Return plain JSON types; None where there is nothing to estimate."""
        if math.isnan(self.value):
            return None
        return {"value": self.value, "standard_error": self.standard_error, "interval_95": list(self.interval)}


@dataclass(frozen=True)
class ClassEstimates:
    """What is estimated for one class."""

    users_accuracy: Estimate
    producers_accuracy: Estimate
    area_share: Estimate
    area_ha: Estimate

    def record(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {field.name: getattr(self, field.name).record() for field in fields(self)}


@dataclass(frozen=True)
class Sample:
    """Reference points by stratum.

    Args:
        stratum: ``(P,)`` index of the stratum that each point was drawn from.
        mapped: ``(P,)`` index of the class that the map shows there.
        reference: ``(P,)`` index of the class that is there.
        pixel_ha: ``(P,)`` area of each point's pixel; pixels of a grid in degrees differ.
        stratum_ha: ``(S,)`` area of each stratum.
        stratum_pixels: ``(S,)`` pixels of each stratum.
    """

    stratum: np.ndarray
    mapped: np.ndarray
    reference: np.ndarray
    pixel_ha: np.ndarray
    stratum_ha: np.ndarray
    stratum_pixels: np.ndarray

    @property
    def total_ha(self) -> float:
        """The area of all strata."""
        return float(self.stratum_ha.sum())

    @property
    def counts(self) -> np.ndarray:
        """Points of each stratum, ``(S,)``."""
        return np.bincount(self.stratum, minlength=len(self.stratum_ha))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return ``(S,)`` means of ``values`` in each stratum, each point weighing as its pixel's area."""
        strata = len(self.stratum_ha)
        weighted = np.bincount(self.stratum, values * self.pixel_ha, strata)
        return weighted / np.bincount(self.stratum, self.pixel_ha, strata)

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray | None = None) -> Estimate:
        """Estimate the area where ``numerator`` is true as a share of that where ``denominator`` is.

        Args:
            numerator: ``(P,)`` 0 or 1; -1, 0 or 1 for what was lost and won.
            denominator: ``(P,)`` 0 or 1, the whole area by default.
        """
        below = np.ones(len(self.stratum)) if denominator is None else denominator.astype(float)
        above_means, below_means = self.means(numerator), self.means(below)
        area = float(self.stratum_ha @ below_means)
        if area == 0:
            return Estimate(math.nan, math.nan)
        value = float(self.stratum_ha @ above_means) / area
        residual = numerator - above_means[self.stratum] - value * (below - below_means[self.stratum])
        residual = residual * self.pixel_ha / self._mean_pixel_ha()[self.stratum]
        squares = np.bincount(self.stratum, residual**2, len(self.stratum_ha))
        fraction = self.counts / self.stratum_pixels
        unseen = np.where(fraction > SMALL_FRACTION, np.maximum(1 - fraction, 0), 1)
        variance = float(self.stratum_ha**2 @ (unseen * squares / (self.counts * np.maximum(self.counts - 1, 1))))
        return Estimate(value, math.sqrt(max(variance, 0.0)) / area, lowest=-1.0 if (numerator < 0).any() else 0.0)

    def _mean_pixel_ha(self) -> np.ndarray:
        return np.bincount(self.stratum, self.pixel_ha, len(self.stratum_ha)) / self.counts


def error_matrix(sample: Sample, classes: int) -> np.ndarray:
    """Return ``(K, K)`` shares of the area by class of the map (rows) and of the reference (columns)."""
    strata = len(sample.stratum_ha)
    held_ha = sample.stratum_ha / np.bincount(sample.stratum, sample.pixel_ha, strata)
    cells = sample.mapped * classes + sample.reference
    shares = np.bincount(cells, held_ha[sample.stratum] * sample.pixel_ha, classes**2)
    return shares.reshape(classes, classes) / sample.total_ha


def overall_accuracy(sample: Sample) -> Estimate:
    """Estimate the share of the area whose class on the map is right."""
    return sample.ratio(sample.mapped == sample.reference)


def class_estimates(sample: Sample, index: int) -> ClassEstimates:
    """Estimate user's and producer's accuracy and the area of one class."""
    mapped, reference = sample.mapped == index, sample.reference == index
    both, share = mapped & reference, sample.ratio(reference)
    return ClassEstimates(
        sample.ratio(both, mapped), sample.ratio(both, reference), share, share.times(sample.total_ha)
    )
