import numpy as np

from skpneumo.datasets._opacities import sample_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, sample_acquisition
from skpneumo.datasets._thorax import sample_thorax


def test_mean_brightness_does_not_depend_on_opacities():
    for seed in range(5):
        rng = np.random.RandomState(seed)
        thorax, acquisition = sample_thorax(rng), sample_acquisition(96, 0, rng)
        disease = sample_opacities("virus", thorax, 0, rng)
        healthy, affected = (
            draw_chest_xray(thorax, opacities, acquisition, np.random.RandomState(seed))[0]
            for opacities in ([], disease)
        )
        assert abs(affected.mean() - healthy.mean()) < 1.5
