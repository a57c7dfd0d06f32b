"""Shared helpers of the tests of heads."""

import numpy as np

DENSE = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}


def three_classes(random):
    X = random.randn(90, 6)
    return X, np.array(["bacteria", "normal", "virus"])[np.arange(90) % 3], X


def penalty(clf):
    return clf.alpha / 2 * sum(coef.shape[0] * (coef**2).sum() for coef in clf.coefs_)
