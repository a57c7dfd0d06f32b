"""
===============================
Hyperparameter search with Dask
===============================

This example computes features and runs a hyperparameter search on a Dask cluster. The cluster consists of two processes
on the local machine. To use another cluster, replace ``LocalCluster`` by the address of its scheduler. The workers need
the images under the same paths, but no feature store.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere in seconds.
It requires ``pip install "skpneumo[distributed]"``.
"""

# %%
# Setup
# -----

import tempfile

import joblib
import matplotlib.pyplot as plt
import numpy as np
from dask.distributed import Client, LocalCluster
from scipy.stats import loguniform
from sklearn.model_selection import RandomizedSearchCV

from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import PatientGroupKFold, patient_ids

settings = {"weights": None, "n_layers": 4, "image_size": 96}


# %%
# Extract features, then search
# -----------------------------
# Within ``joblib.parallel_config("dask")``, ``fit_transform`` sends paths to the workers and stores the features they
# return. The search runs on the feature matrix, so its tasks need neither images nor TensorFlow. The matrix has one
# view per image, without augmentation. It has no file names, so the patients are passed as groups. The function and the
# ``__main__`` guard are needed because the worker processes import this script.


def search_on_a_cluster(folder):
    X, y = make_chest_xrays(200, folder, difficulty=0.8, image_size=128, random_state=0, return_X_y=True)
    features = VGG19Features(**settings, memory=folder)
    search = RandomizedSearchCV(
        PneumoniaClassifier(**settings, memory=folder),
        {"alpha": loguniform(1e-4, 100)},
        n_iter=20,
        scoring="roc_auc",
        cv=PatientGroupKFold(5),
        random_state=0,
    )
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        matrix = features.fit_transform(X)
        search.fit(matrix, y, groups=patient_ids(X))
    print(f"best alpha {search.best_params_['alpha']:.1e}, AUC {search.best_score_:.3f}")
    print(search.predict_proba(X[:2]))  # the fitted model also accepts paths
    return search


# %%
# Results
# -------
# Each point is the mean AUC of a candidate over five folds, with the standard deviation as error bar.

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        results = search_on_a_cluster(folder).cv_results_
    alphas = np.array(results["param_alpha"], dtype=float)
    plt.errorbar(alphas, results["mean_test_score"], results["std_test_score"], fmt="o", capsize=3)
    plt.xscale("log")
    plt.xlabel("alpha")
    plt.ylabel("Cross-validated AUC")
    plt.title("20 candidates, 5 folds")
    plt.show()
