"""Evaluation reports and model cards of fitted classifiers."""

from skpneumo.reporting._model_card import model_card
from skpneumo.reporting._report import report

__all__ = ["model_card", "report"]
