import numpy as np
import pytest
from PIL import Image
from scipy.special import logit
from scipy.stats import spearmanr
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import QUICK, near
from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import grad_cam, occlusion_map
from skpneumo.model_selection import patient_train_test_split

THREE = np.arange(40) % 3
DENSE = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}
TUNED = {"n_trainable_layers": 1, "tune_max_iter": 1, "random_state": 0}


def value_at_grid(heat, k):
    """Return the values of a square heat map at the centers of its cells."""
    places = (np.arange(k) + 0.5) * len(heat) / k
    low, high = np.floor(places - 0.5).astype(int), np.ceil(places - 0.5).astype(int)
    return (heat[np.ix_(low, low)] + heat[np.ix_(high, high)]) / 2


@pytest.mark.parametrize("detail", ["cells", "feature_maps"])
@pytest.mark.parametrize("parameters", [{}, {"pool_grid": 3}, {"pool_grid": 1}, TUNED, {"class_weight": {0: 1, 1: 5}}])
def test_contributions_add_up_to_log_odds_minus_intercept(clf, paths, y, detail, parameters):
    clf.set_params(**parameters).set_params(precision="float32").fit(paths, y)
    grids = grad_cam(clf, paths, detail=detail, coordinates="grid")
    expected = clf.decision_function(paths) - clf.intercepts_[0]
    np.testing.assert_allclose(grids.sum(axis=(1, 2)), expected, atol=1e-3)


@pytest.mark.parametrize("parameters", [{"pool_grid": 3}, {"pool_grid": 2}, TUNED])
def test_locations_add_up_to_their_cell(clf, paths, y, parameters):
    clf.set_params(**parameters).set_params(precision="float32").fit(paths, y)
    cells, maps = (grad_cam(clf, paths[:4], detail=detail, coordinates="grid") for detail in ("cells", "feature_maps"))
    side, grid = maps.shape[1], cells.shape[1]
    if side % grid:  # overlapping cells share locations
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), cells.sum(axis=(1, 2)), atol=1e-3)
        return
    summed = maps.reshape(-1, grid, side // grid, grid, side // grid).sum(axis=(2, 4))
    np.testing.assert_allclose(summed, cells, atol=1e-3)


@pytest.mark.parametrize("labels", ["two", "three"])
@pytest.mark.parametrize("parameters", [{}, DENSE, {"class_weight": {0: 9, 1: 1, 2: 1}}])
def test_contributions_match_numerical_gradients_of_log_odds(clf, paths, y, labels, parameters):
    y = y if labels == "two" else THREE
    if labels == "two":
        parameters = {name: value for name, value in parameters.items() if name != "class_weight"}
    clf.set_params(**parameters).fit(paths, y)
    features = clf.features(paths[:3]).astype(np.float64)
    grids = grad_cam(clf, paths[:3], class_of_interest=1, detail="cells", coordinates="grid")
    step = 1e-4 * (features - clf.feature_mean_)  # proportional to the difference from the mean
    after, before = (logit(clf.predict_proba(each)[:, 1]) for each in (features + step, features - step))
    np.testing.assert_allclose(grids.sum(axis=(1, 2)), (after - before) / 2e-4, rtol=1e-3, atol=1e-5)


def test_contribution_of_a_cell_depends_on_its_own_features(clf, paths, y):
    clf.fit(paths, y)
    features = clf.features(paths[:1]).reshape(2, 2, -1).astype(np.float64)
    features[0, 1] = clf.feature_mean_.reshape(features.shape)[0, 1]
    decrease = clf.decision_function(paths[:1]) - clf.decision_function(features.reshape(1, -1))
    grids = grad_cam(clf, paths[:1], coordinates="grid")
    np.testing.assert_allclose(grids[0, 0, 1], decrease[0], atol=1e-5)


def test_contributions_of_the_other_class_are_negated(clf, paths, y):
    labels = ["normal", "pneumonia"]
    clf.fit(paths, np.array(labels)[y])
    normal, pneumonia = (grad_cam(clf, paths, class_of_interest=label, coordinates="grid") for label in labels)
    np.testing.assert_array_equal(pneumonia, -normal)
    np.testing.assert_array_equal(pneumonia, grad_cam(clf, paths, coordinates="grid"))


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_predicted_class_is_explained_with_three_classes(clf, paths, function):
    predicted = clf.set_params(class_weight={0: 9, 1: 1, 2: 1}, alpha=0.5).fit(paths, THREE).predict(paths)
    assert (predicted != clf.predict_proba(paths).argmax(axis=1)).any()
    grids = function(clf, paths, coordinates="grid")
    for label in range(3):
        of_label = function(clf, paths, class_of_interest=label, coordinates="grid")
        np.testing.assert_array_equal(grids[predicted == label], of_label[predicted == label])


def test_occlusion_uses_the_log_odds_of_the_probabilities(clf, paths):
    clf.set_params(class_weight={0: 9, 1: 1, 2: 1}, precision="float32").fit(paths, THREE)
    odds = logit(clf.predict_proba(paths[:2])[:, 1])
    decrease = occlusion_map(clf, paths[:1], class_of_interest=1, background=paths[1:2], grid=1, coordinates="grid")
    np.testing.assert_allclose(decrease[0, 0, 0], odds[0] - odds[1], atol=1e-4)


@pytest.mark.parametrize(("pool_grid", "side"), [(1, 16), (2, 2)])
def test_auto_detail_of_a_single_cell_uses_feature_maps(clf, paths, y, pool_grid, side):
    clf.set_params(pool_grid=pool_grid).fit(paths, y)
    assert grad_cam(clf, paths[:2], coordinates="grid").shape == (2, side, side)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_heat_maps_cover_the_preprocessed_region(clf, xrays, y, tmp_path, function, aspect):
    clf.set_params(aspect=aspect).fit(xrays.data, y)
    path = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)).save(path)
    (heat,), (preprocessed,) = (function(clf, [path], coordinates=each) for each in ("image", "preprocessed"))
    assert heat.shape == (40, 60)
    assert preprocessed.shape == (32, 32)
    is_covered = heat.any(axis=0)
    assert is_covered.sum() == {"crop": 40, "pad": 60, "stretch": 60}[aspect]
    assert is_covered[30]
    if aspect == "crop":
        np.testing.assert_allclose(heat[20, 30], preprocessed[15:17, 15:17].mean(), rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_values_are_at_the_centers_of_cells(clf, paths, y, function):
    clf.fit(paths, y)
    grid, preprocessed = (function(clf, paths[:2], coordinates=each) for each in ("grid", "preprocessed"))
    for values, heat in zip(grid, preprocessed, strict=True):
        np.testing.assert_allclose(value_at_grid(heat, 2), values, atol=0.1 * np.abs(values).max())


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_heat_maps_follow_the_exif_orientation(clf, paths, y, tmp_path, function):
    clf.fit(paths, y)
    with Image.open(paths[0]) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "rotated.png", exif=exif)
        image.save(tmp_path / "plain.png")
    rotated, plain = function(clf, [tmp_path / "rotated.png", tmp_path / "plain.png"])
    np.testing.assert_array_equal(rotated, plain)


def test_peaks_of_predicted_pneumonia_are_in_or_near_opacities(located):
    """The tolerance is half a cell of the pooling grid."""
    clf, images, boxes, _ = located
    heats = grad_cam(clf, images)
    assert np.mean([near(heat, each, grid=clf.pool_grid) for heat, each in zip(heats, boxes, strict=True)]) >= 0.9


def test_peaks_are_in_small_opacities_more_often_than_peaks_of_other_images(located):
    clf, images, boxes, _ = located
    chosen = [i for i, image in enumerate(images) if "bacteria" in image]  # viral opacities cover most of the lungs
    heats = grad_cam(clf, [images[i] for i in chosen])
    hits = np.array([[near(heat, boxes[i], grid=np.inf) for heat in heats] for i in chosen])
    assert np.diag(hits).mean() >= 0.9
    assert hits.mean() < 0.6


def test_grad_cam_agrees_with_occlusion(located):
    clf, images, _, background = located
    contributions = grad_cam(clf, images[:10], coordinates="grid")
    decreases = occlusion_map(clf, images[:10], background=background, coordinates="grid")
    correlations = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(contributions, decreases, strict=True)]
    assert np.mean(correlations) > 0.7


@pytest.fixture(scope="module")
def located(tmp_path_factory):
    """Return a classifier, true positives of other patients, boxes of their opacities, and training images."""
    folder = tmp_path_factory.mktemp("located")
    xrays = make_chest_xrays(300, folder, image_size=96, difficulty=0, random_state=0)
    boxes = dict(zip(xrays.data.ravel(), xrays.opacities, strict=True))
    X, X_test, y, y_test = patient_train_test_split(xrays.data, xrays.target, test_size=0.4, random_state=0)
    clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=48, pool_grid=6, n_views=1, alpha=0.05).fit(X, y)
    images = X_test[(y_test == 1) & (clf.predict(X_test) == 1)].ravel().tolist()
    assert len(images) > 50
    return clf, images, [boxes[image] for image in images], X[:8]


@pytest.mark.parametrize(
    "around",
    [
        lambda clf: GridSearchCV(clf, {"alpha": [0.02]}, cv=2),
        lambda clf: FixedThresholdClassifier(clf, threshold=0.3, response_method="predict_proba"),
        make_pipeline,
        lambda clf: CalibratedClassifierCV(clf, cv=2, ensemble=False),
    ],
)
def test_classifier_is_found_in_meta_estimators(clf, paths, y, around):
    expected = grad_cam(clf.fit(paths, y), paths[:2], coordinates="grid")
    np.testing.assert_allclose(grad_cam(around(clf).fit(paths, y), paths[:2], coordinates="grid"), expected, atol=1e-6)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_unsupported_models_raise(paths, y, clf, matrix, function):
    with pytest.raises(TypeError, match="LogisticRegression"):
        function(LogisticRegression(max_iter=1000).fit(matrix, y), paths)
    several = CalibratedClassifierCV(clf, cv=2).fit(paths, y)
    with pytest.raises(TypeError, match="ensemble=False"):
        function(several, paths)
    with pytest.raises(TypeError, match="Steps before the classifier"):
        function(make_pipeline(StandardScaler(), PneumoniaClassifier(**QUICK)).fit(matrix, y), paths)
    with pytest.raises(NotFittedError):
        function(clf, paths)
    with pytest.raises(ValueError, match="fitted on features"):
        function(PneumoniaClassifier(**QUICK).fit(matrix, y), paths)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
@pytest.mark.parametrize(("name", "value"), [("coordinates", "pixels"), ("class_of_interest", "pneumonia")])
def test_invalid_parameters_raise(clf, paths, y, function, name, value):
    clf.fit(paths, y)
    with pytest.raises(ValueError, match=rf"{name}.* must be .*[gG]ot '{value}'"):
        function(clf, paths, **{name: value})


def test_invalid_detail_raises(clf, paths, y):
    with pytest.raises(ValueError, match=r"'detail' parameter of grad_cam must be a str among .* Got 'all'"):
        grad_cam(clf.fit(paths, y), paths, detail="all")


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_unreadable_images_are_all_listed(clf, paths, y, tmp_path, function):
    clf.fit(paths, y)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        function(clf, [tmp_path / "broken.png", paths[0], tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [0, 2]


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_features_raise(clf, paths, y, matrix, function):
    with pytest.raises(ValueError, match="X must contain images"):
        function(clf.fit(paths, y), matrix)


def test_arrays_of_pixels_are_images(clf, paths, y):
    clf.fit(paths, y)
    with Image.open(paths[0]) as image:
        (heat,), (expected,) = grad_cam(clf, [np.asarray(image)]), grad_cam(clf, paths[:1])
    np.testing.assert_allclose(heat, expected, atol=0.05 * np.abs(expected).max())
