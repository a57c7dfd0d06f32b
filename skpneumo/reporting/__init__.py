"""Reports and model cards: what is known of a fitted model, as a page and as a card."""

from skpneumo.reporting._model_card import model_card
from skpneumo.reporting._report import report

__all__ = ["model_card", "report"]
