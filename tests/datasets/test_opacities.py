import numpy as np
import pytest

from skpneumo.datasets._opacities import bounding_box, sample_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, sample_acquisition
from skpneumo.datasets._thorax import sample_thorax


@pytest.mark.parametrize("kind", ["bacteria", "virus", "lobar", "diffuse"])
@pytest.mark.parametrize("seed", range(5))
def test_opacity_brightens_the_inside_of_its_box(kind, seed):
    rng = np.random.RandomState(seed)
    thorax, acquisition = sample_thorax(rng), sample_acquisition(96, 0.5, rng)
    disease = sample_opacities(kind, thorax, 0.5, rng)
    healthy, none = draw_chest_xray(thorax, [], acquisition, np.random.RandomState(seed))
    affected, masks = draw_chest_xray(thorax, disease, acquisition, np.random.RandomState(seed))
    change = affected.astype(float) - healthy
    inside = np.zeros(change.shape, dtype=bool)
    for left, top, right, bottom in map(bounding_box, masks):
        inside[top:bottom, left:right] = True
    assert none.shape == (0, *healthy.shape)
    assert change[inside].mean() > change[~inside].mean() + 3
