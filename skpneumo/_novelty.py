"""Stub."""

import numpy as np


def fit_novelty(standardized, groups):
    return {"distances": np.zeros(0)}


def p_values(reference, standardized):
    return np.ones(len(standardized))
