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

from conftest import TINY, near
from skpneumo import PneumoniaClassifier
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import grad_cam, occlusion_map
from skpneumo.model_selection import patient_train_test_split

THREE = np.arange(40) % 3
DENSE = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}
TUNED = {"n_trainable_layers": 1, "tune_max_iter": 1, "random_state": 0}


def value_at_grid(heat, k):
    """Read a heat map of a square at the centres of its cells."""
    places = (np.arange(k) + 0.5) * len(heat) / k
    low, high = np.floor(places - 0.5).astype(int), np.ceil(places - 0.5).astype(int)
    return (heat[np.ix_(low, low)] + heat[np.ix_(high, high)]) / 2


@pytest.mark.parametrize("detail", ["cells", "feature_maps"])
@pytest.mark.parametrize("parameters", [{}, {"pool_grid": 3}, {"pool_grid": 1}, TUNED, {"class_weight": {0: 1, 1: 5}}])
def test_contributions_add_up_to_the_log_odds_less_the_intercept(clf, paths, y, detail, parameters):
    clf.set_params(**parameters).set_params(precision="float32").fit(paths, y)
    grids = grad_cam(clf, paths, detail=detail, coordinates="grid")
    expected = clf.decision_function(paths) - clf.intercepts_[0]
    np.testing.assert_allclose(grids.sum(axis=(1, 2)), expected, atol=1e-3)


@pytest.mark.parametrize("parameters", [{"pool_grid": 3}, {"pool_grid": 2}, TUNED])
def test_places_of_a_cell_add_up_to_it(clf, paths, y, parameters):
    clf.set_params(**parameters).set_params(precision="float32").fit(paths, y)
    cells, maps = (grad_cam(clf, paths[:4], detail=detail, coordinates="grid") for detail in ("cells", "feature_maps"))
    side, grid = maps.shape[1], cells.shape[1]
    if side % grid:  # cells overlap: what they share is told apart by none of them
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), cells.sum(axis=(1, 2)), atol=1e-3)
        return
    summed = maps.reshape(-1, grid, side // grid, grid, side // grid).sum(axis=(2, 4))
    np.testing.assert_allclose(summed, cells, atol=1e-3)


@pytest.mark.parametrize("labels", ["two", "three"])
@pytest.mark.parametrize("parameters", [{}, DENSE, {"class_weight": {0: 9, 1: 1, 2: 1}}])
def test_slopes_are_those_of_the_log_odds(clf, paths, y, labels, parameters):
    y = y if labels == "two" else THREE
    if labels == "two":
        parameters = {name: value for name, value in parameters.items() if name != "class_weight"}
    clf.set_params(**parameters).fit(paths, y)
    features = clf.features(paths[:3]).astype(np.float64)
    grids = grad_cam(clf, paths[:3], class_of_interest=1, detail="cells", coordinates="grid")
    step = 1e-4 * (features - clf.feature_mean_)  # each feature moves in proportion to what it is away from its mean
    after, before = (logit(clf.predict_proba(each)[:, 1]) for each in (features + step, features - step))
    np.testing.assert_allclose(grids.sum(axis=(1, 2)), (after - before) / 2e-4, rtol=1e-3, atol=1e-5)


def test_a_cell_speaks_for_its_own_features_alone(clf, paths, y):
    clf.fit(paths, y)
    features = clf.features(paths[:1]).reshape(2, 2, -1).astype(np.float64)
    features[0, 1] = clf.feature_mean_.reshape(features.shape)[0, 1]
    fall = clf.decision_function(paths[:1]) - clf.decision_function(features.reshape(1, -1))
    grids = grad_cam(clf, paths[:1], coordinates="grid")
    np.testing.assert_allclose(grids[0, 0, 1], fall[0], atol=1e-5)


def test_the_other_class_is_the_negative(clf, paths, y):
    clf.fit(paths, np.array(["ill", "well"])[1 - y])
    well, ill = (grad_cam(clf, paths, class_of_interest=name, coordinates="grid") for name in ("well", "ill"))
    np.testing.assert_array_equal(well, -ill)
    np.testing.assert_array_equal(well, grad_cam(clf, paths, coordinates="grid"))


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_of_three_classes_it_is_the_one_that_is_called(clf, paths, function):
    called = clf.set_params(class_weight={0: 9, 1: 1, 2: 1}).fit(paths, THREE).predict(paths)
    assert (called != clf.predict_proba(paths).argmax(axis=1)).any()
    grids = function(clf, paths, coordinates="grid")
    for label in range(3):
        of_label = function(clf, paths, class_of_interest=label, coordinates="grid")
        np.testing.assert_array_equal(grids[called == label], of_label[called == label])


def test_occlusion_is_by_the_log_odds_of_the_probabilities(clf, paths):
    clf.set_params(class_weight={0: 9, 1: 1, 2: 1}, precision="float32").fit(paths, THREE)
    odds = logit(clf.predict_proba(paths[:2])[:, 1])
    fall = occlusion_map(clf, paths[:1], class_of_interest=1, background=paths[1:2], grid=1, coordinates="grid")
    np.testing.assert_allclose(fall[0, 0, 0], odds[0] - odds[1], atol=1e-4)


@pytest.mark.parametrize(("pool_grid", "side"), [(1, 16), (2, 2)])
def test_a_grid_of_one_cell_is_looked_at_more_closely(clf, paths, y, pool_grid, side):
    clf.set_params(pool_grid=pool_grid).fit(paths, y)
    assert grad_cam(clf, paths[:2], coordinates="grid").shape == (2, side, side)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
def test_heat_maps_lie_where_the_network_looks(clf, xrays, y, tmp_path, function, aspect):
    clf.set_params(aspect=aspect).fit(xrays.data, y)
    path = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)).save(path)
    (heat,), (square,) = (function(clf, [path], coordinates=each) for each in ("image", "preprocessed"))
    assert heat.shape == (40, 60)
    assert square.shape == (32, 32)
    is_seen = heat.any(axis=0)
    assert is_seen.sum() == {"crop": 40, "pad": 60, "stretch": 60}[aspect]
    assert is_seen[30]
    if aspect == "crop":
        np.testing.assert_allclose(heat[20, 30], square[15:17, 15:17].mean(), rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_values_stand_at_the_centres_of_cells(clf, paths, y, function):
    clf.fit(paths, y)
    grid, square = (function(clf, paths[:2], coordinates=each) for each in ("grid", "preprocessed"))
    for values, heat in zip(grid, square, strict=True):
        np.testing.assert_allclose(value_at_grid(heat, 2), values, atol=0.1 * np.abs(values).max())


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_heat_maps_are_upright_as_the_image_is(clf, paths, y, tmp_path, function):
    clf.fit(paths, y)
    with Image.open(paths[0]) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
        image.save(tmp_path / "plain.png")
    turned, plain = function(clf, [tmp_path / "turned.png", tmp_path / "plain.png"])
    np.testing.assert_array_equal(turned, plain)


def test_peaks_of_called_pneumonias_lie_in_or_beside_the_planted_opacity(located):
    """As finely as a cell of the head can tell: at most half a cell away from the box of an opacity."""
    clf, films, boxes, _ = located
    heats = grad_cam(clf, films)
    assert np.mean([near(heat, each, grid=clf.pool_grid) for heat, each in zip(heats, boxes, strict=True)]) >= 0.9


def test_peaks_lie_in_small_opacities_far_more_often_than_those_of_other_films_would(located):
    clf, films, boxes, _ = located
    chosen = [i for i, film in enumerate(films) if "bacteria" in film]  # veils of viral ones cover most of the lungs
    heats = grad_cam(clf, [films[i] for i in chosen])
    hits = np.array([[near(heat, boxes[i], grid=np.inf) for heat in heats] for i in chosen])
    assert np.diag(hits).mean() >= 0.9
    assert hits.mean() < 0.6


def test_it_agrees_with_occlusion(located):
    clf, films, _, background = located
    slopes = grad_cam(clf, films[:10], coordinates="grid")
    falls = occlusion_map(clf, films[:10], background=background, coordinates="grid")
    ranks = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(slopes, falls, strict=True)]
    assert np.mean(ranks) > 0.7


@pytest.fixture(scope="module")
def located(tmp_path_factory):
    """A classifier, the pneumonias of other patients that it calls, boxes of their opacities, films of its training."""
    folder = tmp_path_factory.mktemp("located")
    xrays = make_chest_xrays(300, folder, image_size=96, difficulty=0, random_state=0)
    boxes = dict(zip(xrays.data.ravel(), xrays.opacities, strict=True))
    X, X_test, y, y_test = patient_train_test_split(xrays.data, xrays.target, test_size=0.4, random_state=0)
    clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=48, pool_grid=6).fit(X, y)
    films = X_test[(y_test == 1) & (clf.predict(X_test) == 1)].ravel().tolist()
    assert len(films) > 50
    return clf, films, [boxes[film] for film in films], X[:8]


@pytest.mark.parametrize(
    "around",
    [
        lambda clf: GridSearchCV(clf, {"alpha": [0.05]}, cv=2),
        lambda clf: FixedThresholdClassifier(clf, threshold=0.3, response_method="predict_proba"),
        make_pipeline,
        lambda clf: CalibratedClassifierCV(clf, cv=2, ensemble=False),
    ],
)
def test_what_is_around_a_classifier_is_looked_through(clf, paths, y, around):
    expected = grad_cam(clf.fit(paths, y), paths[:2], coordinates="grid")
    np.testing.assert_allclose(grad_cam(around(clf).fit(paths, y), paths[:2], coordinates="grid"), expected, atol=1e-6)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_other_models_are_refused(paths, y, clf, matrix, function):
    with pytest.raises(TypeError, match="LogisticRegression"):
        function(LogisticRegression(max_iter=1000).fit(matrix, y), paths)
    several = CalibratedClassifierCV(clf, cv=2).fit(paths, y)
    with pytest.raises(TypeError, match="ensemble=False"):
        function(several, paths)
    with pytest.raises(TypeError, match="Steps before the classifier"):
        function(make_pipeline(StandardScaler(), PneumoniaClassifier(**TINY)).fit(matrix, y), paths)
    with pytest.raises(NotFittedError):
        function(clf, paths)
    with pytest.raises(ValueError, match="fitted on features"):
        function(PneumoniaClassifier(**TINY).fit(matrix, y), paths)


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
@pytest.mark.parametrize(("name", "value"), [("coordinates", "film"), ("class_of_interest", "ill")])
def test_parameters_are_checked(clf, paths, y, function, name, value):
    clf.fit(paths, y)
    with pytest.raises(ValueError, match=f"{name}='{value}'"):
        function(clf, paths, **{name: value})


def test_the_detail_is_checked(clf, paths, y):
    with pytest.raises(ValueError, match="detail='all'"):
        grad_cam(clf.fit(paths, y), paths, detail="all")


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_all_images_that_cannot_be_read_are_named(clf, paths, y, tmp_path, function):
    clf.fit(paths, y)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        function(clf, [tmp_path / "broken.png", paths[0], tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [0, 2]


@pytest.mark.parametrize("function", [grad_cam, occlusion_map])
def test_features_are_refused(clf, paths, y, matrix, function):
    with pytest.raises(ValueError, match="needs images"):
        function(clf.fit(paths, y), matrix)


def test_pixels_in_memory_are_images_too(clf, paths, y):
    clf.fit(paths, y)
    with Image.open(paths[0]) as image:
        (heat,), (expected,) = grad_cam(clf, [np.asarray(image)]), grad_cam(clf, paths[:1])
    np.testing.assert_allclose(heat, expected, atol=0.05 * np.abs(expected).max())
