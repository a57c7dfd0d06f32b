"""Tests on real X-rays with the ImageNet weights of the first 8 layers."""

import os
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.stats import spearmanr
from sklearn.datasets import load_sample_images
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from sklearn.model_selection import cross_val_predict

from conftest import near
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._keras import resolve_precision
from skpneumo.datasets import audit_xrays, load_chest_xrays, make_chest_xrays
from skpneumo.exceptions import DomainShiftWarning
from skpneumo.export import preprocess_images, to_keras, to_onnx
from skpneumo.inspection import grad_cam, occlusion_map
from skpneumo.model_selection import PatientGroupKFold, check_splits, patient_train_test_split

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "weights" / "vgg19_imagenet_first_8_layers.npz"


def figures(y, logits, capsys, name):
    """Print and return the AUC, and sensitivity and specificity of the predicted labels."""
    (tn, fp), (fn, tp) = confusion_matrix(y, logits > 0)
    auc, sensitivity, specificity = roc_auc_score(y, logits), tp / (tp + fn), tn / (tn + fp)
    with capsys.disabled():
        print(
            f"\n{name}: {len(y)} images, AUC {auc:.4f}, accuracy {(tp + tn) / len(y):.4f}, balanced accuracy "
            f"{(sensitivity + specificity) / 2:.4f}, sensitivity {sensitivity:.4f}, specificity {specificity:.4f}"
        )
    return auc, sensitivity, specificity


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a feature store for the tests that use the same views of the same images."""
    return tmp_path_factory.mktemp("store")


def grouped_predictions(clf, xrays, method):
    return cross_val_predict(clf, xrays.data, xrays.target, cv=PatientGroupKFold(5), method=method)


def test_pneumonia_is_classified_in_new_patients(shared, weights, capsys, store):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    clf = PneumoniaClassifier(weights, aspect="stretch", memory=store, n_jobs=2)
    logits = grouped_predictions(clf, xrays, "decision_function")
    auc, sensitivity, specificity = figures(xrays.target, logits, capsys, "Kermany, patient-grouped 5-fold")
    assert auc >= 0.993
    assert min(sensitivity, specificity) >= 0.89
    plain = grouped_predictions(clf.set_params(n_views=1), xrays, "decision_function")
    auc, sensitivity, specificity = figures(xrays.target, plain, capsys, "The same, n_views=1")
    assert auc >= 0.996
    assert min(sensitivity, specificity) >= 0.95


def test_pneumonia_is_classified_at_a_second_site(shared, weights, capsys, store):
    home, site = (load_chest_xrays(shared / "xrays" / name) for name in ("kermany", "second_site"))
    clf = PneumoniaClassifier(weights, aspect="stretch", memory=store, n_jobs=2).fit(home.data, home.target)
    with pytest.warns(DomainShiftWarning):
        logits = clf.decision_function(site.data)
    auc, sensitivity, specificity = figures(site.target, logits, capsys, "Second site")
    assert auc >= 0.98
    assert (sensitivity + specificity) / 2 >= 0.93
    assert min(sensitivity, specificity) >= 0.91
    adapted = clf.adapt(site.data)
    auc, *rates = figures(site.target, adapted.decision_function(site.data), capsys, "The same, adapted without labels")
    assert np.mean(rates) >= (sensitivity + specificity) / 2 - 0.01


def test_etiology_is_classified_in_new_patients(shared, weights, capsys, store):
    xrays = load_chest_xrays(shared / "xrays" / "kermany", target="etiology")
    clf = PneumoniaClassifier(weights, aspect="stretch", memory=store, n_jobs=2)
    proba = grouped_predictions(clf, xrays, "predict_proba")
    y_pred = proba.argmax(axis=1)
    aucs = [roc_auc_score(xrays.target == code, proba[:, code]) for code in range(3)]
    with capsys.disabled():
        print(
            f"\nKermany, normal / bacteria / virus, patient-grouped 5-fold: {len(y_pred)} images, one-vs-rest AUC "
            f"{', '.join(f'{auc:.4f}' for auc in aucs)}, accuracy {accuracy_score(xrays.target, y_pred):.4f}, "
            f"confusion matrix (rows: true labels) {confusion_matrix(xrays.target, y_pred).tolist()}"
        )
    assert aucs[0] >= 0.985
    assert min(aucs[1:]) >= 0.8


def test_pneumonia_is_classified_in_pneumoniamnist(shared, weights, capsys, tmp_path):
    with np.load(shared / "xrays" / "pneumoniamnist_28_train_val.npz") as arrays:
        data = {name: arrays[name] for name in arrays.files}
    paths = {part: save_images(tmp_path / part, data[f"{part}_images"]) for part in ("train", "val")}
    clf = PneumoniaClassifier(weights, image_size=64, n_views=1, n_jobs=2)
    clf.fit(paths["train"], data["train_labels"].ravel())
    y = data["val_labels"].ravel()
    auc, *_ = figures(y, clf.decision_function(paths["val"]), capsys, "PneumoniaMNIST, train -> val, n_views=1")
    assert auc >= 0.996


def save_images(folder, images):
    folder.mkdir()
    paths = [os.fspath(folder / f"{i}.png") for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_original_files_have_features_like_their_small_copies(shared, weights):
    originals = load_chest_xrays(shared / "xrays" / "originals", shuffle=False).data.ravel()
    small = {os.path.basename(path): path for path in load_chest_xrays(shared / "xrays" / "kermany").data.ravel()}
    both = [(path, small[os.path.basename(path)]) for path in originals if os.path.basename(path) in small]
    assert len(both) >= 10
    features = VGG19Features(weights, n_jobs=2)
    large, copies = (features.fit_transform(list(paths)) for paths in zip(*both, strict=True))
    for one, other in zip(large, copies, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.98


@pytest.mark.skipif(resolve_precision("auto", "cpu") != "bfloat16", reason="no native bfloat16, the test would be slow")
def test_bfloat16_hardly_changes_features_and_predictions(shared, weights, capsys):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    X, y = xrays.data[::4], xrays.target[::4]
    exact, rounded = (
        VGG19Features(weights, precision=precision, device="cpu").fit_transform(X).astype(float)
        for precision in ("float32", "bfloat16")
    )
    difference = np.linalg.norm(rounded - exact, axis=1) / np.linalg.norm(exact, axis=1)
    deviation = exact.std(axis=0)
    spread = np.abs(rounded - exact)[:, deviation > 0] / deviation[deviation > 0]
    rarest = np.median(deviation) / deviation[deviation > 0][spread.max(axis=0).argmax()]
    cv = list(PatientGroupKFold(5).split(X, y))
    probabilities = [
        cross_val_predict(PneumoniaClassifier(), features.astype(np.float32), y, cv=cv, method="predict_proba")[:, 1]
        for features in (exact, rounded)
    ]
    agreement = np.mean((probabilities[0] > 0.5) == (probabilities[1] > 0.5))
    moved = np.abs(probabilities[0] - probabilities[1]).max()
    aucs = [roc_auc_score(y, each) for each in probabilities]
    with capsys.disabled():
        print(
            f"\nbfloat16 against float32, {len(y)} images: features of an image differ by {np.median(difference):.2%} "
            f"(largest {difference.max():.2%}) of their norm; one feature by {np.median(spread):.4f} (one in "
            f"1,000 by {np.quantile(spread, 0.999):.2f}, the largest by {spread.max():.1f}, where a feature varies "
            f"{rarest:,.0f} times less than most) standard deviations. "
            f"Grouped 5-fold: predicted labels agree in {agreement:.2%}, the largest "
            f"change of a probability is {moved:.4f}, AUC {aucs[0]:.5f} and {aucs[1]:.5f}."
        )
    assert difference.max() < 0.02
    assert agreement >= 0.99
    assert abs(aucs[0] - aucs[1]) < 0.001


def test_novelty_separates_other_images_from_new_patients(shared, weights, capsys, tmp_path):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    train, test, y_train, _ = patient_train_test_split(xrays.data, xrays.target, random_state=0)
    clf = PneumoniaClassifier(weights, n_views=1, n_jobs=2).fit(train, y_train)
    ordinary = clf.novelty(test)
    flagged = np.mean(ordinary <= 0.01)
    lines, aucs = [], {}
    for kind, images in other_images(test.ravel()[::8]).items():
        p = clf.novelty(save_images(tmp_path / kind, images))
        aucs[kind] = roc_auc_score(np.repeat([0, 1], [len(ordinary), len(p)]), 1 - np.append(ordinary, p))
        lines.append(f"{kind} {len(p)} images, AUC {aucs[kind]:.4f}, {np.mean(p <= 0.01):.0%} flagged")
    with capsys.disabled():
        print(f"\nNovelty, {len(ordinary)} held-out images, {flagged:.1%} flagged at 1 %: {'; '.join(lines)}")
    assert flagged <= 0.03
    assert min(aucs.values()) >= 0.95


def other_images(paths):
    """Return photographs, blank images, and inverted, rotated and simulated lateral X-rays."""
    xrays = [Image.open(path).convert("L") for path in paths]
    random = np.random.RandomState(0)
    noise = [random.normal(128, deviation, (224, 224)).clip(0, 255).astype(np.uint8) for deviation in (1, 10, 40)]
    images = {
        "photographs": [crop for photograph in load_sample_images().images for crop in crops(photograph, 40, random)],
        "blank": [np.full((224, 224), gray, np.uint8) for gray in range(0, 256, 51)] + noise,
        "inverted": [ImageOps.invert(image) for image in xrays],
        "on the side": [image.rotate(angle, expand=True) for image in xrays for angle in (90, 270)],
        "upside down": [image.rotate(180) for image in xrays],
        "lateral": [lateral(image) for image in xrays],
    }
    return {kind: [np.asarray(image) for image in kept] for kind, kept in images.items()}


def crops(photograph, n_crops, random):
    height, width = photograph.shape[:2]
    for side in np.linspace(100, height, n_crops).astype(int):
        top, left = random.randint(height - side + 1), random.randint(width - side + 1)
        yield photograph[top : top + side, left : left + side]


def lateral(image):
    """Simulate a lateral view: one half of the image, compressed and with a brightness gradient, on black."""
    width, height = image.size
    half = np.asarray(image.crop((0, 0, width // 2, height)).resize((width // 3, height)), float)
    simulated = np.zeros((height, height), np.uint8)
    half = (half * np.linspace(0.4, 1.2, width // 3)).clip(0, 255)[:, :height]
    left = (height - half.shape[1]) // 3
    simulated[:, left : left + half.shape[1]] = half
    return simulated


def test_shortcuts_in_the_original_files_are_found(shared):
    xrays = load_chest_xrays(shared / "xrays" / "originals")
    report = audit_xrays(xrays.data, xrays.target, groups=xrays.groups, n_jobs=2).set_index("check")
    assert report.loc[["EXIF data", "ICC profile"], "verdict"].eq("suspicious").all()
    assert report.loc["colour mode: RGB", "verdict"] == "in one class alone"
    assert report.loc["aspect ratio", "verdict"] == "worth a look"
    assert not (report["kind"] == "finding").any()


def test_aspect_ratio_is_a_shortcut(shared):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    report = audit_xrays(xrays.data, xrays.target, groups=xrays.groups, n_jobs=2).set_index("check")
    assert report.loc["aspect ratio", "verdict"] == "suspicious"
    assert report.loc["aspect ratio", "auc"] > 0.7
    assert report.loc["EXIF data", "verdict"] == "the same in all"
    assert not report.index.isin(["same pixels", "near duplicate", "unreadable", "blank"]).any()


COPIES = {
    "compressed": lambda image: (image, {"quality": 30}),
    "half the size": lambda image: (image.resize((image.width // 2, image.height // 2)), {"quality": 75}),
    "twice the size": lambda image: (image.resize((image.width * 2, image.height * 2)), {"quality": 75}),
    "half the size, compressed": lambda image: (image.resize((image.width // 2, image.height // 2)), {"quality": 30}),
    "brighter": lambda image: (image.point(lambda value: min(255, int(value * 1.15 + 8))), {"quality": 90}),
    "darker": lambda image: (image.point(lambda value: max(0, int(value * 0.85 - 8))), {"quality": 90}),
    "cropped": lambda image: (ImageOps.crop(image, round(0.03 * min(image.size))), {"quality": 90}),
    "framed": lambda image: (ImageOps.expand(image, round(0.03 * min(image.size))), {"quality": 90}),
}


def test_near_duplicates_are_found_without_false_positives(shared, capsys, tmp_path):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    train, test, _, _ = patient_train_test_split(xrays.data.ravel(), xrays.target, random_state=0)
    assert check_splits(train, test, n_jobs=2) == []
    origin = {}
    for kind, change in COPIES.items():
        for path in train[::8]:
            image, options = change(Image.open(path).convert("L"))
            copy = str(tmp_path / f"{Path(path).stem} {kind}.jpeg")
            image.save(copy, **options)
            origin[copy] = path
    found = check_splits(xrays.data, list(origin), test_groups=list(origin), train_groups=xrays.groups, n_jobs=2)
    right = {overlap.test for overlap in found if overlap.train == origin[overlap.test]}
    with capsys.disabled():
        print(f"\nNear duplicates: {len(right)} of {len(origin)} copies found, {len(found) - len(right)} others")
    assert len(right) == len(origin)
    assert len(found) == len(right)


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_bundled_weights_hardly_change_predictions(shared, weights, capsys, tmp_path, precision):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    X, y = xrays.data[:200], xrays.target[:200]
    clf = PneumoniaClassifier(weights, precision=precision).fit(X[:100], y[:100])
    expected, lines = clf.predict_proba(X[100:])[:, 1], []
    for dtype, most in [("float32", 0), ("float16", 0.01)]:
        bundle = clf.bundle_weights(dtype)
        joblib.dump(bundle, tmp_path / "model.joblib")
        moved = np.abs(bundle.predict_proba(X[100:])[:, 1] - expected).max()
        assert moved <= most
        lines.append(
            f"{dtype} {os.path.getsize(tmp_path / 'model.joblib') / 1e6:.1f} MB, a probability changes by at most "
            f"{moved:.4f}"
        )
    with capsys.disabled():
        print(f"\nBundled weights of the first 8 layers, 100 images, precision={precision!r}: {'; '.join(lines)}.")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"aspect": "pad", "contrast": "equalize", "class_weight": "balanced"},
        {"n_trainable_layers": 2, "tune_max_iter": 1},
    ],
    ids=["probe", "padded and equalized", "tuned"],
)
def test_exported_models_match_the_classifier(parameters, shared, weights, capsys, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    train, test, y_train, _ = patient_train_test_split(xrays.data.ravel(), xrays.target, random_state=0)
    clf = PneumoniaClassifier(weights, precision="float32", random_state=0, **parameters)
    clf.fit(train[::16], y_train[::16])
    published = load_chest_xrays(shared / "xrays" / "originals", shuffle=False).data.ravel()
    pixels = [np.asarray(Image.open(path).convert("L")) for path in [*published[::2], *test[:40]]]
    paths = save_images(tmp_path / "images", pixels)
    proba = clf.predict_proba(paths)
    to_onnx(clf, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    by_onnx = np.concatenate([session.run(None, {"pixels": each[np.newaxis]})[0] for each in pixels])
    by_keras = to_keras(clf).predict(preprocess_images(clf, paths)[..., np.newaxis], batch_size=8, verbose=0)
    n_published = len(published[::2])
    as_jpeg = clf.predict_proba(published[::2])
    rounded = clf.set_params(precision="bfloat16").predict_proba(paths)
    moved = {
        "ONNX": np.abs(by_onnx - proba).max(),
        "Keras": np.abs(by_keras - proba).max(),
        f"ONNX, {n_published} large JPEG files decoded at full size": np.abs(by_onnx[:n_published] - as_jpeg).max(),
        "the classifier itself in bfloat16": np.abs(rounded - proba).max(),
    }
    with capsys.disabled():
        print(
            f"\nLargest difference of a probability from the classifier in float32, {len(paths)} held-out images, "
            f"{parameters}: {', '.join(f'{name} {value:.1e}' for name, value in moved.items())}"
        )
    assert moved["ONNX"] < 1e-4
    assert moved["Keras"] < 1e-4


def test_grad_cam_agrees_with_occlusion(shared, weights, capsys):
    xrays = load_chest_xrays(shared / "xrays" / "kermany")
    X, X_test, y, y_test = patient_train_test_split(xrays.data, xrays.target, test_size=0.8, random_state=0)
    clf = PneumoniaClassifier(weights, image_size=160, n_views=1).fit(X, y)
    true_positives = X_test[(y_test == 1) & (clf.predict(X_test) == 1)][:12]
    gradient_maps = grad_cam(clf, true_positives, coordinates="grid")
    occlusion_maps = {
        "images": occlusion_map(clf, true_positives, background=X[:8], coordinates="grid"),
        "gray": occlusion_map(clf, true_positives, coordinates="grid"),
    }
    correlations = {
        background: np.mean([spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(gradient_maps, maps, strict=True)])
        for background, maps in occlusion_maps.items()
    }
    with capsys.disabled():
        print(
            f"\nGrad-CAM and occlusion of {len(true_positives)} true positives, 4 x 4 cells: mean rank correlation "
            f"{correlations['images']:.2f} with cells of other images, {correlations['gray']:.2f} with gray"
        )
    assert correlations["images"] >= 0.6


def test_grad_cam_localizes_synthetic_opacities(weights, capsys, tmp_path):
    xrays = make_chest_xrays(400, tmp_path, difficulty=0.3, random_state=0)
    boxes = dict(zip(xrays.data.ravel(), xrays.opacities, strict=True))
    X, X_test, y, y_test = patient_train_test_split(xrays.data, xrays.target, test_size=0.4, random_state=0)
    clf = PneumoniaClassifier(weights, pool_grid=7, n_views=1).fit(X, y)
    true_positives = X_test[(y_test == 1) & (clf.predict(X_test) == 1)].ravel()
    heat_maps = grad_cam(clf, true_positives)
    inside, beside = (
        np.array([[near(heat_map, boxes[path], grid) for heat_map in heat_maps] for path in true_positives])
        for grid in (np.inf, 7)
    )
    with capsys.disabled():
        print(
            f"\nPeaks of heat maps of {len(true_positives)} synthetic true positives: {np.diag(inside).mean():.3f} "
            f"inside an opacity, {np.diag(beside).mean():.3f} inside or near; each heat map on all images: "
            f"{inside.mean():.3f}, {beside.mean():.3f}"
        )
    assert np.diag(beside).mean() >= 0.9
    assert inside.mean() < 0.6
