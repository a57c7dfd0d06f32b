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
    """Compare with what `draw` draws."""
    monkeypatch.setenv("SKPNEUMO_WRITE_PICTURES", "1")
    assert_looks_like(draw()[0], "kept", tmp_path)
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES")
    return lambda figure: assert_looks_like(figure, "kept", tmp_path)


def test_the_same_picture_looks_the_same(draw, looks_like):
    looks_like(draw()[0])


@pytest.mark.parametrize("part", ["lines", "collections"])
def test_a_picture_with_a_part_missing_is_noticed(draw, looks_like, part):
    figure, ax = draw()
    getattr(ax, part)[0].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        looks_like(figure)


@pytest.mark.parametrize("change", [{"linestyle": ":"}, {"color": "black"}, {"ydata": [0, 0.9]}])
def test_a_line_that_is_drawn_otherwise_is_noticed(draw, looks_like, change):
    figure, ax = draw()
    ax.lines[0].set(**change)
    with pytest.raises(AssertionError, match="pixels differ"):
        looks_like(figure)


def test_texts_are_left_out_and_come_back(draw, looks_like):
    figure, ax = draw()
    text = ax.set_title("a title")
    looks_like(figure)
    assert text.get_visible()
    assert ax.get_legend().get_visible()


def test_a_picture_of_another_size_is_noticed(draw, looks_like):
    figure, _ = draw()
    figure.set_size_inches(5, 3)
    with pytest.raises(AssertionError, match="instead of"):
        looks_like(figure)


def test_an_image_that_is_missing_is_noticed(pyplot, tmp_path, monkeypatch):
    figure, ax = pyplot.subplots()
    image = ax.imshow(np.arange(16).reshape(4, 4))
    monkeypatch.setenv("SKPNEUMO_WRITE_PICTURES", "1")
    assert_looks_like(figure, "kept", tmp_path)
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES")
    image.remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(figure, "kept", tmp_path)


def test_a_picture_that_was_never_kept_says_how_to_keep_it(draw, tmp_path, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    with pytest.raises(AssertionError, match="SKPNEUMO_WRITE_PICTURES=1"):
        assert_looks_like(draw()[0], "new", tmp_path)
