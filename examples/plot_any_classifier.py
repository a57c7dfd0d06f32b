"""
=====================================
Compare classifiers on VGG19 features
=====================================

:class:`~skpneumo.VGG19Features` transforms images into a feature matrix, for any classifier of scikit-learn or sampler
of imbalanced-learn in a pipeline. This example trains four pipelines on the same images and compares their ROC curves
on test patients.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere in seconds.
The ranking of the classifiers does not transfer to real X-rays.
"""

# %%
# Imbalanced data
# ---------------
# One image in four shows pneumonia. The split is by patient: all images of a patient are either in the training set or
# in the test set.

import tempfile
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays
from skpneumo.model_selection import patient_train_test_split

folder, store = tempfile.TemporaryDirectory(), tempfile.TemporaryDirectory()
xrays = make_chest_xrays(300, folder.name, prevalence=0.25, image_size=128, random_state=0)
X, y = xrays.data, xrays.target
X_train, X_test, y_train, y_test = patient_train_test_split(X, y, test_size=0.4, random_state=0)
print("images per class, training:", np.bincount(y_train), "test:", np.bincount(y_test))

# %%
# Four pipelines
# --------------
# The ``make_pipeline`` of imbalanced-learn applies a sampler in ``fit`` and skips it in ``predict``. SMOTE interpolates
# between neighbors of the minority class, so it comes after the features. The last model,
# :class:`~skpneumo.PneumoniaClassifier`, combines features and a linear probe in one estimator. With ``n_views=1``, it
# uses the same features as the others, without augmented views of the training images.

settings = {"weights": None, "n_layers": 4, "image_size": 96, "pool_grid": 2, "memory": store.name}
features = VGG19Features(**settings)
models = {
    "Random forest": make_pipeline(features, RandomForestClassifier(300, random_state=0)),
    "Nearest neighbors": make_pipeline(features, StandardScaler(), KNeighborsClassifier(15)),
    "SMOTE, logistic regression": make_pipeline(
        features, StandardScaler(), SMOTE(random_state=0), LogisticRegression(C=0.01)
    ),
    "PneumoniaClassifier": PneumoniaClassifier(**settings, n_views=1),
}

# %%
# ROC curves
# ----------
# The first model computes and caches the features. The other models read them from the cache, as does every later fit
# with the same settings.

fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for name, model in models.items():
    start = perf_counter()
    model.fit(X_train, y_train)
    RocCurveDisplay.from_estimator(model, X_test, y_test, name=name, ax=ax)
    print(f"{name}: {perf_counter() - start:.1f} s")
ax.plot([0, 1], [0, 1], color="0.5", linestyle=":")
ax.set(
    title="ROC curves of test patients",
    xlabel="False positive rate (1 - specificity)",
    ylabel="True positive rate (sensitivity)",
)
ax.legend(loc="lower right")
plt.show()

# %%
# A ROC curve depends only on the ranking of the scores. Resampling also shifts the probabilities, because it changes
# the prevalence in the training data. If you need probabilities, do not resample; choose a threshold with
# ``TunedThresholdClassifierCV`` instead.

for name in ("SMOTE, logistic regression", "PneumoniaClassifier"):
    probability = models[name].predict_proba(X_test)[:, 1].mean()
    print(f"{name}: mean predicted probability {probability:.2f}, prevalence {y_test.mean():.2f}")

folder.cleanup()
store.cleanup()
