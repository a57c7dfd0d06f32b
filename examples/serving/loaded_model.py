"""A model of skpneumo as a service wants it: one pass of the network an image, and nothing is stored."""

import hashlib
import io
from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import skpneumo

DISCLAIMER = "A research tool, not a medical device: not for diagnosis or for decisions about patients."


class LoadedModel:
    """A fitted `PneumoniaClassifier`, or a search, threshold, calibration or pipeline around one."""

    def __init__(self, path: str) -> None:
        estimator = skpneumo.load_model(path)
        for part in parts(estimator):
            if hasattr(part, "memory"):
                part.memory = None
        self.estimator = getattr(estimator, "best_estimator_", estimator)  # of a search, what it has found
        self.classes = [str(label) for label in self.estimator.classes_]
        self.inner = with_features(self.estimator)
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    def warm_up(self) -> None:
        """Do now what would make the first request slow: load and compile the network, and use all of it once."""
        if self.inner:
            self.inner.warm_up()
        gray = io.BytesIO()
        Image.new("L", (256, 256), 128).save(gray, "PNG")
        self.answers(self.rows([gray.getvalue()]))

    def rows(self, images: list[bytes]) -> np.ndarray:
        """Ask the model of a batch: probabilities, number of the class that is called, novelty or NaN of each image."""
        X = self.inner.features(images) if self.inner else images
        calls = np.searchsorted(self.estimator.classes_, self.estimator.predict(X))
        novelty = self.inner.novelty(X) if self.inner else np.full(len(images), np.nan)
        return np.column_stack([self.estimator.predict_proba(X), calls, novelty])

    def answers(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Put rows into words."""
        return [
            {
                "probabilities": dict(zip(self.classes, probabilities, strict=True)),
                "call": self.classes[int(call)],
                "novelty": None if np.isnan(novelty) else novelty,
            }
            for *probabilities, call, novelty in rows.tolist()
        ]

    def card(self) -> dict[str, Any]:
        """Say which model this is."""
        return {
            "sha256": self.sha256,
            "classes": self.classes,
            "threshold": threshold(self.estimator),
            "skpneumo": skpneumo.__version__,
            "disclaimer": DISCLAIMER,
        }

    def history(self) -> dict[str, Any]:
        """Say how it was made, as far as it knows."""
        names = {"fitted_with": "versions_", "training_summary": "training_summary_"}
        return {key: getattr(self.inner, name, None) for key, name in names.items()}


def parts(thing: Any) -> Iterator[Any]:
    """Yield the estimators that a model is made of, the fitted copies in it too."""
    if isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from parts(part)
    elif not isinstance(thing, type) and (hasattr(thing, "get_params") or hasattr(thing, "estimator")):
        yield thing
        yield from parts(vars(thing))


def threshold(model: Any) -> dict[str, Any] | None:
    """Return the probability that a call needs, and the class that it is of; None where calls are made otherwise."""
    if getattr(model, "response_method", "predict_proba") == "decision_function":
        return None
    of = getattr(model, "pos_label", None)
    if hasattr(model, "best_threshold_"):
        of = model._curve_scorer._get_pos_label()  # scikit-learn keeps it nowhere else
    chosen = (getattr(model, name, None) for name in ("best_threshold_", "threshold_", "threshold"))
    value = next((value for value in chosen if value is not None), None)
    value = 0.5 if isinstance(value, str) else value  # "auto"
    label = model.classes_[1] if of is None else of
    return {"class": str(label), "probability": float(value)} if isinstance(value, Real) else None


def with_features(model: Any) -> Any:
    """Find the PneumoniaClassifier in a search or a threshold that takes features in the place of images."""
    while model is not None and not hasattr(model, "features"):
        model = getattr(model, "estimator_", getattr(model, "best_estimator_", None))
    return model if getattr(model, "n_views_predict", None) == 1 else None  # features are those of one view
