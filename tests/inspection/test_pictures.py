import numpy as np
import pytest

from pictures import assert_looks_like


@pytest.fixture
def draw(pyplot):
    def draw():
        figure, ax = pyplot.subplots(figsize=(4, 3), layout="constrained")
        ax.plot([0, 1], [0, 1], label="rising")
        ax.plot([0, 1], [1, 0], label="falling")
        ax.fill_between([0, 1], [0.4, 0.4], [0.6, 0.6], color="C2", alpha=0.15)
        ax.legend()
        return figure, ax

    return draw


@pytest.fixture
def looks_like(draw, tmp_path, monkeypatch):
    """Compare with the figure of `draw`."""
    monkeypatch.setenv("SKPNEUMO_WRITE_PICTURES", "1")
    assert_looks_like(draw()[0], "baseline", tmp_path)
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES")
    return lambda figure: assert_looks_like(figure, "baseline", tmp_path)


def test_equal_figures_pass(draw, looks_like):
    looks_like(draw()[0])


@pytest.mark.parametrize("part", ["lines", "collections"])
def test_figure_without_an_artist_fails(draw, looks_like, part):
    figure, ax = draw()
    getattr(ax, part)[0].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        looks_like(figure)


@pytest.mark.parametrize("change", [{"linestyle": ":"}, {"color": "black"}, {"ydata": [0, 0.9]}])
def test_figure_with_a_changed_line_fails(draw, looks_like, change):
    figure, ax = draw()
    ax.lines[0].set(**change)
    with pytest.raises(AssertionError, match="pixels differ"):
        looks_like(figure)


def test_text_is_ignored_and_restored(draw, looks_like):
    figure, ax = draw()
    text = ax.set_title("a title")
    looks_like(figure)
    assert text.get_visible()
    assert ax.get_legend().get_visible()


def test_figure_of_another_size_fails(draw, looks_like):
    figure, _ = draw()
    figure.set_size_inches(5, 3)
    with pytest.raises(AssertionError, match="expected shape"):
        looks_like(figure)


def test_figure_without_its_image_fails(pyplot, tmp_path, monkeypatch):
    figure, ax = pyplot.subplots()
    image = ax.imshow(np.arange(16).reshape(4, 4))
    monkeypatch.setenv("SKPNEUMO_WRITE_PICTURES", "1")
    assert_looks_like(figure, "baseline", tmp_path)
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES")
    image.remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(figure, "baseline", tmp_path)


def test_missing_baseline_raises_with_instructions(draw, tmp_path, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    with pytest.raises(AssertionError, match="SKPNEUMO_WRITE_PICTURES=1"):
        assert_looks_like(draw()[0], "new", tmp_path)
