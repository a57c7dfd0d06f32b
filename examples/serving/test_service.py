"""Tests of the service through a real server and client: predictions, errors, load, startup and shutdown."""

import gc
import io
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import joblib
import numpy as np
import pydicom
import pytest
import uvicorn
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline

import skpneumo
from loaded_model import LoadedModel, parts
from service import Limits, create_app, main
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import make_chest_xrays

TINY = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2}
LIMITS = Limits(file_bytes=200_000, body_bytes=500_000, files=4)
LONG = 60  # seconds, longer than any test


@pytest.fixture(autouse=True)
def errors(caplog):
    """Check that the server logs no error, unless a test removes it."""
    logged = []
    caplog.handler.addFilter(lambda record: logged.append(record) or True if record.levelname == "ERROR" else True)
    yield logged
    assert not [record.getMessage() for record in logged]


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xrays")
    X, y = make_chest_xrays(24, folder, image_size=48, difficulty=0, random_state=0, return_X_y=True)
    return X.ravel().tolist(), y


@pytest.fixture(scope="module")
def images(xrays):
    """Return the bytes of six images."""
    contents = []
    for path in xrays[0][:6]:
        with open(path, "rb") as file:
            contents.append(file.read())
    return contents


@pytest.fixture(scope="module")
def clf(xrays):
    return PneumoniaClassifier(**TINY, memory=None).fit(*xrays)


@pytest.fixture(scope="module")
def model(clf, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.joblib"
    joblib.dump(clf, path)
    return LoadedModel(str(path))


@contextmanager
def served(model, limits=LIMITS, **batching):
    """Run a service in a thread on a free port; yield a client."""
    with running(create_app(model, limits, **batching)) as client:
        yield client


@contextmanager
def running(app):
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=LONG) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(LONG)
        listening.close()


def wait_until_ready(client):
    end = time.monotonic() + LONG
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < end


@pytest.fixture(scope="module")
def client(model):
    with served(model) as client:
        wait_until_ready(client)
        yield client


def upload(client, *images, field="files"):
    return client.post("/predict", files=[(field, (f"{i}.png", image)) for i, image in enumerate(images)])


def save(kind, *images, **options):
    file = io.BytesIO()
    images[0].save(file, kind, append_images=images[1:], **options)
    return file.getvalue()


def test_predictions_match_the_model(client, clf, xrays, images):
    answer = upload(client, *images)
    assert answer.status_code == 413  # six files, limit four
    answer = upload(client, *images[:4]).json()
    paths = xrays[0][:4]
    probabilities = [[file["probabilities"][label] for label in ("0", "1")] for file in answer["files"]]
    np.testing.assert_allclose(probabilities, clf.predict_proba(paths), atol=1e-4)
    np.testing.assert_allclose([file["novelty"] for file in answer["files"]], clf.novelty(paths), atol=0.1)
    assert [file["call"] for file in answer["files"]] == clf.predict(paths).astype(str).tolist()
    assert [file["name"] for file in answer["files"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert answer["model"]["skpneumo"] == skpneumo.__version__
    assert len(answer["model"]["sha256"]) == 64
    assert "not a medical device" in answer["model"]["disclaimer"]


def test_dicom_is_read(client, clf):
    answer = upload(client, DICOM.read_bytes()).json()
    probabilities = [answer["files"][0]["probabilities"][label] for label in ("0", "1")]
    np.testing.assert_allclose(probabilities, clf.predict_proba([DICOM])[0], atol=1e-4)


def test_model_is_described(client, model):
    card = client.get("/model").json()
    assert (card["sha256"], card["classes"]) == (model.sha256, ["0", "1"])
    assert {"threshold", "skpneumo", "fitted_with", "training_summary", "disclaimer"} <= set(card)


def test_openapi_describes_the_upload(client):
    body = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    assert "files" in body["content"]["multipart/form-data"]["schema"]["properties"]


DICOM = Path(pydicom.data.get_testdata_file("MR_small.dcm", download=False))
GRAY = Image.new("L", (64, 64), 100)


def large_dicom():
    header = pydicom.dcmread(DICOM)
    header.Rows = header.Columns = 6_400
    file = io.BytesIO()
    header.save_as(file)
    return file.getvalue()


NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (96, 96), np.uint8))
BAD = {
    "empty": (b"", 422, "is empty"),
    "text": (b"an image", 415, "is something else, not a JPEG"),
    "html": (b"\n<!doctype html>", 415, "is HTML or XML, not a JPEG"),
    "pdf": (b"%PDF-1.7 ...", 415, "is a PDF"),
    "zip": (b"PK\x03\x04...", 415, "is a ZIP archive"),
    "dicom": (bytes(128) + b"DICM" + bytes(50), 422, "a damaged DICOM file"),
    "gif": (save("GIF", GRAY, NOISE, save_all=True), 415, "is a GIF"),
    "pages": (save("TIFF", GRAY, NOISE, save_all=True), 422, "holds several images"),
    "truncated": (save("JPEG", NOISE)[:2_000], 422, "cannot be read: cannot be decoded"),
    "header alone": (b"\x89PNG\r\n\x1a\n", 422, "cannot be read"),
    "bomb": (save("PNG", Image.new("1", (20_000, 20_000))), 413, "more than 40000000 pixels"),
    "many pixels": (save("PNG", Image.new("1", (6_400, 6_400))), 413, "more than 40000000 pixels"),
    "many pixels of dicom": (large_dicom(), 413, "more than 40000000 pixels"),
    "large": (save("BMP", Image.new("L", (500, 500))), 413, "more than 200000"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_rejected_with_name_and_reason(name, client, images):
    data, status, reason = BAD[name]
    for sent, position in (([data], 0), ([images[0], data], 1)):
        answer = upload(client, *sent)
        assert answer.status_code == status
        (wrong,) = answer.json()["files"]
        assert wrong["name"] == f"{position}.png"
        assert reason in wrong["reason"]
        assert f"'{position}.png' {wrong['reason'].rstrip('.')}." in answer.json()["detail"]


def test_too_many_pixels_per_request_are_rejected(client):
    large = save("PNG", Image.new("1", (6_000, 6_000)))
    answer = upload(client, large, large, large)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "The images of a request may have at most 100000000 pixels."


def test_application_can_be_restarted(model, images):
    app = create_app(model, LIMITS)
    for _ in range(2):
        with running(app) as client:
            wait_until_ready(client)
            assert upload(client, images[0]).status_code == 200


class FailingModel(LoadedModel):
    def __init__(self, model):
        vars(self).update(vars(model))

    def warm_up(self):
        pass

    def rows(self, images):
        raise OSError("no such device")


def test_internal_error_has_the_error_format_and_is_logged(model, images, errors):
    with served(FailingModel(model)) as client:
        wait_until_ready(client)
        answer = upload(client, images[0])
    assert (answer.status_code, answer.json()) == (
        500,
        {"detail": "Internal error; see the log of the service.", "files": []},
    )
    assert str(errors.pop().exc_info[1]) == "no such device"


def test_all_bad_files_are_listed_and_nothing_is_predicted(client, images):
    answer = upload(client, b"", images[0], b"%PDF")
    assert answer.status_code == 422
    assert [wrong["name"] for wrong in answer.json()["files"]] == ["0.png", "2.png"]
    assert "2 of 3 files cannot be used, so nothing was predicted" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("application/json", b"{}", 415, "Send images as multipart/form-data"),
        ("image/png", b"\x89PNG", 415, "Send images as multipart/form-data"),
        ("multipart/form-data", b"--x--", 400, "not well-formed"),
        ("multipart/form-data; boundary=x", b"nonsense", 400, "not well-formed"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1", 400, "not well-formed"),
        ("multipart/form-data; boundary=x", b"--x\r\n", 400, "incomplete"),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x--\r\n", 400, "not well-formed"),
    ],
)
def test_invalid_bodies_are_rejected(content_type, body, status, detail, client):
    answer = client.post("/predict", content=body, headers={"Content-Type": content_type.encode("latin-1")})
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as below
def test_incomplete_body_is_rejected_even_if_one_image_is_complete(model, images):
    with served(model) as client:
        wait_until_ready(client)
        request = client.build_request("POST", "/predict", files=[("files", image) for image in images[:2]])
        headers = {"Content-Type": request.headers["Content-Type"]}
        answer = client.post("/predict", content=request.read()[:-100], headers=headers)
    gc.collect()
    assert (answer.status_code, answer.json()["detail"]) == (400, "The body is incomplete.")


def test_unknown_fields_and_text_fields_are_rejected(client, images):
    answer = upload(client, images[0], field="image")
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "Send images only in the field 'files'; got 'image'.",
    )
    answer = client.post("/predict", data={"files": "../model.joblib"}, files={"files": images[0]})
    assert (answer.status_code, answer.json()["detail"]) == (422, "The field 'files' must contain files.")


# Starlette leaves the files of a broken body to the garbage collector, which warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_random_bytes_never_cause_an_internal_error(model, images):
    random = np.random.RandomState(0)
    with served(model) as client:
        wait_until_ready(client)
        request = client.build_request("POST", "/predict", files={"files": images[0]})
        body, headers = np.frombuffer(request.read(), np.uint8), {"Content-Type": request.headers["Content-Type"]}
        for _ in range(50):
            changed = body.copy()
            places = random.choice(np.r_[:200, len(body) - 60 : len(body)], 4)
            changed[places] = random.randint(0, 256, 4)
            answer = client.post("/predict", content=changed.tobytes(), headers=headers)
            assert answer.status_code < 500
            assert "files" in answer.json()
    gc.collect()


def test_too_large_body_is_rejected_before_reading(client):
    answer = client.post(
        "/predict", content=bytes(600_000), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 413
    assert "at most 500000 bytes" in answer.json()["detail"]


def test_too_large_body_without_content_length_is_rejected(client):
    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(60):
            yield bytes(10_000)

    answer = client.post("/predict", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413


def test_body_that_does_not_arrive_times_out(model):
    with served(model, Limits(seconds=0.01)) as client:
        wait_until_ready(client)
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nContent-Type: multipart/form-data; boundary=x"
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=LONG) as connection:
            connection.sendall(f"{head}\r\n\r\n--x".encode())
            answer = connection.recv(1_000)
    assert answer.startswith(b"HTTP/1.1 408")


def test_slow_clients_do_not_block_others(model, images):
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
    with served(model, Limits(requests=1)) as client, ExitStack() as connections:
        wait_until_ready(client)
        for _ in range(3):
            connection = socket.create_connection((client.base_url.host, client.base_url.port), timeout=LONG)
            connections.enter_context(connection)
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode())
            assert connection.recv(1_000).startswith(b"HTTP/1.1 100")  # the server waits for the body
            connection.sendall(b"--x")
        assert upload(client, images[0]).status_code == 200


def test_requests_are_rejected_while_too_many_bytes_are_held(model, images):
    with served(model, Limits(held_bytes=len(images[0]) + 500)) as client:
        wait_until_ready(client)
        for _ in range(2):
            assert upload(client, images[0]).status_code == 200
            answer = upload(client, images[0], images[0])
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert "too many bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "echoed"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\images\\a.png", "a.png"),
        ("x" * 500 + ".png", "x" * 100),
        ("a\u202egnp.exe", "a?gnp.exe"),
        ("f\u00fcr.png", "f\u00fcr.png"),
        ("folder/", "file 1"),
    ],
)
def test_file_names_are_echoed_safely(name, echoed, client, images):
    assert client.post("/predict", files=[("files", (name, images[0]))]).json()["files"][0]["name"] == echoed


def test_unknown_methods_and_paths_are_rejected(client):
    assert client.get("/predict").status_code == 405
    assert client.get("/images").status_code == 404


class SlowModel(LoadedModel):
    """Model that waits for an event in `warm_up` and in `rows`."""

    def __init__(self, model):
        vars(self).update(vars(model))
        self.warm, self.begun, self.go_on = threading.Event(), threading.Semaphore(0), threading.Event()
        self.sizes = []

    def warm_up(self):
        assert self.warm.wait(LONG)

    def rows(self, images):
        self.sizes.append(len(images))
        self.begun.release()
        assert self.go_on.wait(LONG)
        return super().rows(images)


def test_service_is_healthy_at_once_and_ready_after_warm_up(model, images):
    slow = SlowModel(model)
    slow.go_on.set()
    with served(slow) as client:
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), upload(client, images[0])):
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
        slow.warm.set()
        wait_until_ready(client)
        assert upload(client, images[0]).status_code == 200


class BrokenModel(LoadedModel):
    def __init__(self):
        self.tried = threading.Event()

    def warm_up(self):
        self.tried.set()
        raise OSError("no such weights")

    def card(self):
        return {"disclaimer": ""}


def test_failed_warm_up_is_logged_and_service_is_not_ready(errors):
    model = BrokenModel()
    with served(model) as client:
        assert model.tried.wait(LONG)
        assert client.get("/readyz").status_code == 503
    assert str(errors.pop().exc_info[1]) == "no such weights"


def test_concurrent_requests_are_batched_and_each_gets_its_own_predictions(model, images):
    slow = SlowModel(model)
    slow.warm.set()
    with served(slow) as client, ThreadPoolExecutor(3) as pool:
        wait_until_ready(client)
        first = pool.submit(upload, client, images[0])
        assert slow.begun.acquire(timeout=LONG)
        others = [pool.submit(upload, client, images[1]), pool.submit(upload, client, images[2], images[3])]
        slow.go_on.set()
        answers = [future.result(LONG).json()["files"] for future in (first, *others)]
        expected = [upload(client, image).json()["files"][0]["probabilities"] for image in images[:4]]
    for file, probabilities in zip([file for answer in answers for file in answer], expected, strict=True):
        assert file["probabilities"] == pytest.approx(probabilities, abs=1e-4)


def test_overload_is_rejected_immediately(model, images):
    slow = SlowModel(model)
    slow.warm.set()
    with served(slow, Limits(requests=1)) as client, ThreadPoolExecutor(1) as pool:
        wait_until_ready(client)
        first = pool.submit(upload, client, images[0])
        assert slow.begun.acquire(timeout=LONG)
        answer = upload(client, images[1])
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "Too many requests" in answer.json()["detail"]
        slow.go_on.set()
        assert first.result(LONG).status_code == 200
        assert upload(client, images[1]).status_code == 200


def wrapped(kind, clf, xrays):
    if kind == "search":
        return GridSearchCV(PneumoniaClassifier(**TINY), {"alpha": [0.05]}, cv=2, scoring="roc_auc").fit(*xrays)
    if kind == "tuned threshold":
        return TunedThresholdClassifierCV(PneumoniaClassifier(**TINY), cv=2).fit(*xrays)
    if kind == "fixed threshold":
        return FixedThresholdClassifier(FrozenEstimator(clf), threshold=0.9).fit(*xrays)
    if kind == "calibrated":
        return CalibratedClassifierCV(FrozenEstimator(clf)).fit(*xrays)
    if kind == "views":
        return PneumoniaClassifier(**TINY, n_views_predict=2, memory=None).fit(*xrays)
    return make_pipeline(VGG19Features(**TINY), LogisticRegression(max_iter=10_000)).fit(*xrays)


@pytest.mark.parametrize("kind", ["search", "tuned threshold", "fixed threshold", "calibrated", "views", "pipeline"])
def test_meta_estimators_predict_the_same_and_store_nothing(kind, clf, xrays, images, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "cache"))
    estimator = wrapped(kind, clf, xrays)
    joblib.dump(estimator, tmp_path / "model.joblib")
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "never"))
    model = LoadedModel(str(tmp_path / "model.joblib"))
    model.warm_up()
    predictions = model.predictions(model.rows(images))
    assert not (tmp_path / "never").exists()
    assert all(part.memory is None for part in parts(model.estimator) if hasattr(part, "memory"))
    probabilities = [list(each["probabilities"].values()) for each in predictions]
    np.testing.assert_allclose(probabilities, estimator.predict_proba(xrays[0][:6]), atol=1e-4)
    assert [each["call"] for each in predictions] == estimator.predict(xrays[0][:6]).astype(str).tolist()


def loaded(estimator, folder):
    joblib.dump(estimator, folder / "model.joblib")
    return LoadedModel(str(folder / "model.joblib"))


def fixed(clf, xrays, **parameters):
    return FixedThresholdClassifier(FrozenEstimator(clf), **parameters).fit(*xrays)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"threshold": 0.9}, {"class": "1", "probability": 0.9}),
        ({"threshold": 0.9, "pos_label": 0}, {"class": "0", "probability": 0.9}),
        ({"threshold": 1}, {"class": "1", "probability": 1.0}),
        ({"threshold": np.float32(0.25)}, {"class": "1", "probability": 0.25}),
        ({}, {"class": "1", "probability": 0.5}),
        ({"threshold": -1.5, "response_method": "decision_function"}, None),
    ],
)
def test_fixed_threshold_is_reported_if_it_is_a_probability(parameters, expected, clf, xrays, tmp_path):
    assert loaded(fixed(clf, xrays, **parameters), tmp_path).card()["threshold"] == expected


@pytest.mark.parametrize("label", [0, 1])
def test_tuned_threshold_is_reported_with_the_scored_class(label, xrays, tmp_path):
    scoring = make_scorer(f1_score, pos_label=label)
    tuned = TunedThresholdClassifierCV(PneumoniaClassifier(**TINY, memory=None), cv=2, scoring=scoring).fit(*xrays)
    expected = {"class": str(label), "probability": tuned.best_threshold_}
    assert loaded(tuned, tmp_path).card()["threshold"] == expected


def test_classifier_has_a_threshold_and_calibration_has_none(clf, xrays, tmp_path):
    assert loaded(clf, tmp_path).card()["threshold"] == {"class": "1", "probability": clf.threshold_}
    assert loaded(wrapped("calibrated", clf, xrays), tmp_path).card()["threshold"] is None


def test_history_and_novelty_of_a_classifier_in_nested_meta_estimators(clf, xrays, images, tmp_path):
    search = GridSearchCV(PneumoniaClassifier(**TINY, memory=None), {"alpha": [0.05]}, cv=2).fit(*xrays)
    model = loaded(fixed(search, xrays), tmp_path)
    assert model.history()["training_summary"]["n_images"] == 24
    (prediction,) = model.predictions(model.rows(images[:1]))
    assert 0 <= prediction["novelty"] <= 1
    direct = loaded(TunedThresholdClassifierCV(search, cv=2).fit(*xrays), tmp_path)
    assert direct.history()["training_summary"]["n_images"] == 24


def test_missing_model_exits_with_instructions(monkeypatch):
    monkeypatch.delenv("SKPNEUMO_MODEL", raising=False)
    with pytest.raises(SystemExit, match="make_model"):
        main()


def test_missing_model_file_exits_with_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("SKPNEUMO_MODEL", str(tmp_path / "absent.joblib"))
    with pytest.raises(SystemExit, match=r"cannot be loaded: .*absent"):
        main()
