"""Print which tools of scikit-learn and imbalanced-learn take paths, in which containers: the table of heads.rst."""

import os
import tempfile
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
from imblearn.ensemble import BalancedBaggingClassifier, EasyEnsembleClassifier
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFECV, SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    LearningCurveDisplay,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_union
from sklearn.semi_supervised import SelfTrainingClassifier

from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import PatientGroupKFold

warnings.simplefilter("ignore")
mpl.use("Agg")

SETTINGS = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 1}
GRID = {"alpha": [0.1, 1.0]}
clf, features, logistic = PneumoniaClassifier(**SETTINGS), VGG19Features(**SETTINGS), LogisticRegression()
pair = [("first", clf), ("second", PneumoniaClassifier(**SETTINGS, alpha=1.0))]


def tools(cv, y, y3, rare):
    """Map the name of each tool to a function of X that fits it and predicts."""
    both = np.column_stack([y, y3 > 1])
    some = np.where(np.arange(len(y)) % 4 == 0, -1, y)

    def of(model, target=y):
        return lambda X: model.fit(X, target).predict(X)

    return {
        "cross_validate": lambda X: cross_validate(clf, X, y, cv=cv, error_score="raise"),
        "cross_val_predict": lambda X: cross_val_predict(clf, X, y, cv=cv),
        "learning_curve": lambda X: learning_curve(clf, X, y, cv=cv, train_sizes=[0.5, 1.0], error_score="raise"),
        "validation_curve": lambda X: validation_curve(
            clf, X, y, param_name="alpha", param_range=GRID["alpha"], cv=cv, error_score="raise"
        ),
        "permutation_test_score": lambda X: permutation_test_score(clf, X, y, cv=cv, n_permutations=3),
        "GridSearchCV": of(GridSearchCV(clf, GRID, cv=cv, error_score="raise")),
        "RandomizedSearchCV": of(RandomizedSearchCV(clf, GRID, n_iter=2, cv=cv, error_score="raise")),
        "HalvingGridSearchCV": of(HalvingGridSearchCV(clf, GRID, cv=cv, min_resources=24, error_score="raise")),
        "CalibratedClassifierCV": of(CalibratedClassifierCV(clf, cv=cv)),
        "TunedThresholdClassifierCV": of(TunedThresholdClassifierCV(clf, cv=cv)),
        "FixedThresholdClassifier": of(FixedThresholdClassifier(clf, threshold=0.3)),
        "VotingClassifier": of(VotingClassifier(pair, voting="soft")),
        "StackingClassifier": of(StackingClassifier(pair, cv=cv)),
        "OneVsRestClassifier": of(OneVsRestClassifier(clf), y3),
        "OutputCodeClassifier": of(OutputCodeClassifier(clf), y3),
        "MultiOutputClassifier": of(MultiOutputClassifier(clf), both),
        "Pipeline": of(make_pipeline(features, logistic)),
        "FeatureUnion": of(make_pipeline(make_union(features, VGG19Features(**SETTINGS | {"n_layers": 1})), logistic)),
        "RocCurveDisplay": lambda X: RocCurveDisplay.from_estimator(clf.fit(X, y), X, y),
        "ConfusionMatrixDisplay": lambda X: ConfusionMatrixDisplay.from_estimator(clf.fit(X, y), X, y),
        "LearningCurveDisplay": lambda X: LearningCurveDisplay.from_estimator(
            clf, X, y, cv=cv, train_sizes=[0.5, 1.0], error_score="raise"
        ),
        "BaggingClassifier": of(BaggingClassifier(clf, n_estimators=3)),
        "AdaBoostClassifier": of(AdaBoostClassifier(clf, n_estimators=3)),
        "ColumnTransformer": of(make_pipeline(ColumnTransformer([("images", features, [0])]), logistic)),
        "permutation_importance": lambda X: permutation_importance(clf.fit(X, y), X, y, n_repeats=2),
        "RandomOverSampler": of(make_pipeline(RandomOverSampler(), clf), rare),
        "RandomUnderSampler": of(make_pipeline(RandomUnderSampler(), clf), rare),
        "BalancedBaggingClassifier": of(BalancedBaggingClassifier(clf, n_estimators=3)),
        "EasyEnsembleClassifier": of(EasyEnsembleClassifier(3, estimator=clf)),
        "StackingClassifier(passthrough=True)": of(StackingClassifier(pair, cv=cv, passthrough=True)),
        "OneVsOneClassifier": of(OneVsOneClassifier(clf), y3),
        "ClassifierChain": of(ClassifierChain(clf), both),
        "SelfTrainingClassifier": of(SelfTrainingClassifier(clf), some),
        "RFECV": lambda X: RFECV(logistic, cv=3, step=0.5).fit(X, y),
        "SequentialFeatureSelector": lambda X: SequentialFeatureSelector(
            clf, n_features_to_select=1, cv=StratifiedKFold(2)
        ).fit(np.asarray(X)[:, :2], y),
        "SMOTE": of(make_pipeline(SMOTE(k_neighbors=2), clf), rare),
    }


def main():
    """Try every tool on every container of synthetic images, and print which combinations work."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKPNEUMO_CACHE"] = folder
        xrays = make_chest_xrays(60, folder, image_size=48, random_state=0)
        y, y3 = xrays.target, np.select([xrays.etiology == "bacteria", xrays.etiology == "virus"], [1, 2], 0)
        rare = (np.arange(len(y)) % 4 == 0).astype(int)
        paths = pd.DataFrame(xrays.data, columns=["path"])
        containers = {
            "list": paths["path"].tolist(),
            "(n,)": xrays.data.ravel(),
            "Series": paths["path"],
            "(n, 1)": xrays.data,
            "frame": paths,
            "features": features.fit_transform(xrays.data),
        }
        print(" " * 38, *(f"{name:>8}" for name in containers))  # noqa: T201
        for name in tools(None, y, y3, rare):
            words = []
            for container, X in containers.items():
                cv = StratifiedKFold(3) if container == "features" else PatientGroupKFold(3)
                try:
                    tools(cv, y, y3, rare)[name](X)
                    words.append("yes")
                except Exception:
                    words.append("-")
            print(f"{name:38}", *(f"{word:>8}" for word in words), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
