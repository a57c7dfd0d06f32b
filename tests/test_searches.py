"""Randomized, halving and Optuna searches on paths of images."""

import warnings

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV

from skpneumo.model_selection import PatientGroupKFold

FOLDS = PatientGroupKFold(3)
DISTRIBUTIONS = {"alpha": loguniform(1e-3, 10), "class_weight": [None, "balanced"]}


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_randomized_search_samples_from_distributions(clf, paths, y, n_jobs, tmp_path):
    search = RandomizedSearchCV(
        clf.set_params(memory=tmp_path), DISTRIBUTIONS, n_iter=4, cv=FOLDS, random_state=0, n_jobs=n_jobs
    )
    search.fit(paths, y)
    assert len(set(search.cv_results_["param_alpha"])) == 4
    assert all(1e-3 <= alpha <= 10 for alpha in search.cv_results_["param_alpha"])
    assert search.score(paths, y) > 0.8


@pytest.mark.parametrize("kind", [HalvingGridSearchCV, HalvingRandomSearchCV])
def test_halving_search_gives_more_images_to_fewer_candidates(clf, paths, y, kind, tmp_path):
    choices = {"alpha": [0.01, 0.1, 1.0, 10.0]} if kind is HalvingGridSearchCV else {"alpha": loguniform(1e-3, 10)}
    search = kind(clf.set_params(memory=tmp_path), choices, cv=3, factor=2, min_resources=20, random_state=0)
    search.fit(paths, y)
    assert search.n_resources_ == [20, 40]
    assert search.n_candidates_[0] > search.n_candidates_[1]
    assert search.predict(paths).shape == (40,)


def test_halving_search_over_epochs(clf, paths, y, tmp_path):
    clf.set_params(memory=tmp_path, hidden_layer_sizes=(8,), random_state=0)
    search = HalvingGridSearchCV(
        clf, {"alpha": [0.01, 1.0]}, cv=FOLDS, factor=2, resource="max_iter", min_resources=2, max_resources=4
    )
    search.fit(paths, y)
    assert search.best_estimator_.n_iter_ == 4


def test_optuna_search_works(clf, paths, y, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Optuna itself
        optuna = pytest.importorskip("optuna")
        integration = pytest.importorskip("optuna_integration")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        search = integration.OptunaSearchCV(
            clf.set_params(memory=tmp_path),
            {"alpha": optuna.distributions.FloatDistribution(1e-3, 10, log=True)},
            cv=FOLDS,
            n_trials=5,
            random_state=0,
        )
        search.fit(np.array(paths), y)
    assert 1e-3 <= search.best_params_["alpha"] <= 10
    assert search.score(paths, y) > 0.8


def test_optuna_search_prunes_poor_trials(clf, paths, y, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Optuna itself
        optuna = pytest.importorskip("optuna")
        integration = pytest.importorskip("optuna_integration")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.ThresholdPruner(lower=0.5, n_warmup_steps=8)
        search = integration.OptunaSearchCV(
            clf.set_params(memory=tmp_path, hidden_layer_sizes=(8,), random_state=0, class_weight=None, norm=None),
            {"learning_rate_init": optuna.distributions.CategoricalDistribution([1e-9, 0.01])},
            cv=FOLDS,
            enable_pruning=True,
            max_iter=20,
            n_trials=6,
            random_state=0,
            study=optuna.create_study(
                direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0)
            ),
        )
        search.fit(np.array(paths), y)
    assert {trial.state.name for trial in search.trials_} == {"PRUNED", "COMPLETE"}
    assert search.best_params_ == {"learning_rate_init": 0.01}
