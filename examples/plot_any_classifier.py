"""
=====================================
VGG19 features, any classifier behind
=====================================

:class:`~skpneumo.VGG19Features` turns images into a matrix of numbers. Whatever takes such a matrix can stand behind it
in a pipeline: a classifier of scikit-learn, or a sampler of imbalanced-learn and a classifier. This example trains four
pipelines on the same images and compares their ROC curves on patients they have not seen.

The images are synthetic and the backbone is untrained (``weights=None``), so that the example runs anywhere in seconds.
The curves show how it is done. Which classifier does best here says nothing about real films.
"""

# %%
# Images of which few are ill
# ---------------------------
# One film in four shows pneumonia. Patients are split, not films: all films of a patient are either for training or for
# testing.

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
print("training:", np.bincount(y_train), "testing:", np.bincount(y_test))

# %%
# Four pipelines
# --------------
# ``make_pipeline`` is that of imbalanced-learn: it runs a sampler in ``fit`` and passes it over in ``predict``. SMOTE
# invents films of the rarer class between the neighbours of each film. It needs numbers, so it stands behind the
# features. The last entry is the classifier of this package, which is features and a linear probe in one estimator.

settings = {"weights": None, "n_layers": 4, "image_size": 96, "pool_grid": 2, "memory": store.name}
features = VGG19Features(**settings)
models = {
    "random forest": make_pipeline(features, RandomForestClassifier(300, random_state=0)),
    "nearest neighbours": make_pipeline(features, StandardScaler(), KNeighborsClassifier(15)),
    "SMOTE, logistic regression": make_pipeline(
        features, StandardScaler(), SMOTE(random_state=0), LogisticRegression(C=0.01)
    ),
    "PneumoniaClassifier": PneumoniaClassifier(**settings),
}

# %%
# ROC curves
# ----------
# ``RocCurveDisplay`` takes a fitted pipeline and the paths of the test images. The first model computes the features of
# the images and stores them; the others look them up, as every later fit with the same settings would.

fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for name, model in models.items():
    start = perf_counter()
    model.fit(X_train, y_train)
    RocCurveDisplay.from_estimator(model, X_test, y_test, name=name, ax=ax)
    print(f"{name}: {perf_counter() - start:.1f} s")
ax.plot([0, 1], [0, 1], color="0.5", linestyle=":")
ax.set(
    title="Test patients",
    xlabel="1 - specificity (false positive rate)",
    ylabel="sensitivity (true positive rate)",
)
ax.legend(loc="lower right")
plt.show()

# %%
# A ROC curve looks at the order of the scores alone. Resampling changes more than that: it moves the probabilities,
# because the model is told of a prevalence that is not that of the data. Where probabilities are used, leave the
# classes as they are and choose a threshold instead, with ``TunedThresholdClassifierCV``.

for name in ("SMOTE, logistic regression", "PneumoniaClassifier"):
    probability = models[name].predict_proba(X_test)[:, 1].mean()
    print(f"{name}: mean probability of pneumonia {probability:.2f}, share of pneumonias {y_test.mean():.2f}")

folder.cleanup()
store.cleanup()
