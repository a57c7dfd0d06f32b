"""Load a model of skpneumo for a service that computes features once per image and stores nothing."""

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
        self.estimator = getattr(estimator, "best_estimator_", estimator)  # the best model of a search
        self.classes = [str(label) for label in self.estimator.classes_]
        self.classifier = inner_classifier(self.estimator)
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    def warm_up(self) -> None:
        """Load, compile and run the network once, so that the first request is not slow."""
        if self.classifier:
            self.classifier.warm_up()
        gray = io.BytesIO()
        Image.new("L", (256, 256), 128).save(gray, "PNG")
        self.predictions(self.rows([gray.getvalue()]))

    def rows(self, images: list[bytes]) -> np.ndarray:
        """Compute a row per image: probabilities, index of the predicted class, and novelty or NaN."""
        X = self.classifier.features(images) if self.classifier else images
        predicted = np.searchsorted(self.estimator.classes_, self.estimator.predict(X))
        novelty = self.classifier.novelty(X) if self.classifier else np.full(len(images), np.nan)
        return np.column_stack([self.estimator.predict_proba(X), predicted, novelty])

    def predictions(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Convert rows to JSON-serializable predictions."""
        return [
            {
                "probabilities": dict(zip(self.classes, probabilities, strict=True)),
                "call": self.classes[int(predicted)],
                "novelty": None if np.isnan(novelty) else novelty,
            }
            for *probabilities, predicted, novelty in rows.tolist()
        ]

    def card(self) -> dict[str, Any]:
        """Return the identity of the model: digest, classes, threshold and version."""
        return {
            "sha256": self.sha256,
            "classes": self.classes,
            "threshold": threshold(self.estimator),
            "skpneumo": skpneumo.__version__,
            "disclaimer": DISCLAIMER,
        }

    def history(self) -> dict[str, Any]:
        """Return the versions and the training summary of the classifier, if it has them."""
        names = {"fitted_with": "versions_", "training_summary": "training_summary_"}
        return {key: getattr(self.classifier, name, None) for key, name in names.items()}


def parts(thing: Any) -> Iterator[Any]:
    """Yield all estimators inside a model, including fitted copies."""
    if isinstance(thing, list | tuple | dict):
        for part in thing.values() if isinstance(thing, dict) else thing:
            yield from parts(part)
    elif not isinstance(thing, type) and (hasattr(thing, "get_params") or hasattr(thing, "estimator")):
        yield thing
        yield from parts(vars(thing))


def threshold(model: Any) -> dict[str, Any] | None:
    """Return the probability threshold of the model and its class, or None if it has none."""
    if getattr(model, "response_method", "predict_proba") == "decision_function":
        return None
    pos_label = getattr(model, "pos_label", None)
    if hasattr(model, "best_threshold_"):
        pos_label = model._curve_scorer._get_pos_label()  # no public attribute holds it
    thresholds = (getattr(model, name, None) for name in ("best_threshold_", "threshold_", "threshold"))
    value = next((value for value in thresholds if value is not None), None)
    value = 0.5 if isinstance(value, str) else value  # "auto"
    label = model.classes_[1] if pos_label is None else pos_label
    return {"class": str(label), "probability": float(value)} if isinstance(value, Real) else None


def inner_classifier(model: Any) -> Any:
    """Return the PneumoniaClassifier inside a search or threshold, if the model accepts its features as input."""
    while model is not None and not hasattr(model, "features"):
        model = getattr(model, "estimator_", getattr(model, "best_estimator_", None))
    return model if getattr(model, "n_views_predict", None) == 1 else None  # features are of one view
