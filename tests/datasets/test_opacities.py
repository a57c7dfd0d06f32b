import numpy as np
import pytest

from skpneumo.datasets._opacities import draw_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, draw_film
from skpneumo.datasets._thorax import draw_thorax


@pytest.mark.parametrize("kind", ["bacteria", "virus"])
@pytest.mark.parametrize("seed", range(5))
def test_an_opacity_whitens_what_its_box_shows(kind, seed):
    rng = np.random.RandomState(seed)
    thorax, film = draw_thorax(rng), draw_film(96, 0.5, rng)
    disease = draw_opacities(kind, thorax, 0.5, rng)
    healthy, none = draw_chest_xray(thorax, [], film, np.random.RandomState(seed))
    ill, boxes = draw_chest_xray(thorax, disease, film, np.random.RandomState(seed))
    change = ill.astype(float) - healthy
    inside = np.zeros(change.shape, dtype=bool)
    for left, top, right, bottom in boxes:
        inside[top:bottom, left:right] = True
    assert none.shape == (0, 4)
    assert change[inside].mean() > change[~inside].mean() + 3
