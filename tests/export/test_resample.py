import numpy as np
import pytest
from PIL import Image

from export.conftest import session
from skpneumo._images.decoding import Preprocessing
from skpneumo.export._graph import Graph
from skpneumo.export._resample import add_preprocessing

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def preprocessing_session(preprocessing):
    graph = Graph()
    graph("Identity", add_preprocessing(graph, "pixels", preprocessing), name="preprocessed")
    helper, types, size = onnx.helper, onnx.TensorProto, preprocessing.size
    ends = [
        [helper.make_tensor_value_info("pixels", types.UINT8, ["n", "height", "width"])],
        [helper.make_tensor_value_info("preprocessed", types.INT64, ["n", size, size])],
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "preprocessing", *ends, initializer=graph.initializers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return session(model.SerializeToString())


SIZES = [(1, 1), (1, 9), (7, 1), (2, 3), (31, 32), (32, 32), (32, 77), (64, 64), (97, 48), (100, 37), (37, 100)]
SIZES += [(333, 512), (512, 333), (1, 400), (400, 1), (517, 123), (123, 517), (45, 46), (701, 700), (23, 5)]


@pytest.mark.parametrize("contrast", [None, "equalize"])
@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [32, 45])
def test_preprocessing_is_identical_to_pillow(size, aspect, contrast, random):
    preprocessing = Preprocessing(size, aspect, contrast)
    run = preprocessing_session(preprocessing).run
    for shape in SIZES:
        noise = random.randint(0, 256, shape).astype(np.uint8)
        dull = random.normal(90, 12, shape).clip(0, 255).astype(np.uint8)
        images = np.stack([noise, dull, np.full(shape, 200, np.uint8)])
        expected = [preprocessing.resize(Image.fromarray(image)) for image in images]
        np.testing.assert_array_equal(run(None, {"pixels": images})[0], expected, err_msg=str(shape))
