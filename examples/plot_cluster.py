"""
======================
A search on a cluster
======================

Images are spread over the workers of a Dask cluster, and so are the candidates and folds of the search that follows.
The cluster here is two processes on this machine. With the address of a scheduler in place of ``LocalCluster``, nothing
else changes: the workers need the images under the same paths, and no store of their own.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere in seconds.
It needs ``pip install "skpneumo[distributed]"``.
"""

# %%
# Images
# ------

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
# Extract, then search
# --------------------
# Within ``joblib.parallel_config("dask")``, ``fit_transform`` sends paths to workers and stores what comes back. The
# search runs on the matrix: its tasks need neither images nor TensorFlow. A matrix has no file names, so the patients
# are passed as groups. Processes that are started anew import the script, hence the function and the last lines of it.


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
    print(search.best_params_, f"AUC {search.best_score_:.3f}")
    print(search.predict_proba(X[:2]))  # of paths: the model is an ordinary one
    return search


# %%
# What came out
# -------------
# Each point is a candidate: the mean over five folds, with their standard deviation.

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        results = search_on_a_cluster(folder).cv_results_
    alphas = np.array(results["param_alpha"], dtype=float)
    plt.errorbar(alphas, results["mean_test_score"], results["std_test_score"], fmt="o", capsize=3)
    plt.xscale("log")
    plt.xlabel("alpha")
    plt.ylabel("AUC, patients not seen")
    plt.title("20 candidates x 5 folds on two workers")
    plt.show()
