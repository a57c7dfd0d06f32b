import numpy as np

from skpneumo.datasets._opacities import draw_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, draw_film
from skpneumo.datasets._thorax import draw_thorax


def test_exposure_makes_up_for_the_opacities():
    for seed in range(5):
        rng = np.random.RandomState(seed)
        thorax, film = draw_thorax(rng), draw_film(96, 0, rng)
        disease = draw_opacities("virus", thorax, 0, rng)
        healthy, ill = (
            draw_chest_xray(thorax, opacities, film, np.random.RandomState(seed))[0] for opacities in ([], disease)
        )
        assert abs(ill.mean() - healthy.mean()) < 1.5
