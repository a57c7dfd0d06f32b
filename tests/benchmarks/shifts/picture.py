"""Contact sheet: films under every change, one column a strength, to see that they can still be read."""

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tests.benchmarks.shifts.changes import CHANGES, STRENGTHS

_CELL = 150
_GAP = 4


def contact_sheet(films: list[Image.Image]) -> Image.Image:
    """Lay out each film and its changes; cells keep the shape of the changed film.

    Parameters
    ----------
    films : list of Image
        8-bit gray films, beside each other.

    Returns
    -------
    Image
        One block a change: the film, then strengths 1, 2 and 3, for each of the films.
    """
    blocks = [_block(name, films) for name in CHANGES]
    columns = 2 if len(films) == 1 else 1
    width, height = blocks[0].size
    sheet = Image.new("L", (columns * width, -(-len(blocks) // columns) * height), 60)
    for i, block in enumerate(blocks):
        sheet.paste(block, (i % columns * width, i // columns * height))
    return sheet


def _block(name: str, films: list[Image.Image]) -> Image.Image:
    row = [image for film in films for image in (film, *(CHANGES[name](film, strength) for strength in STRENGTHS))]
    block = Image.new("L", (len(row) * (_CELL + _GAP), _CELL + 20), 60)
    ImageDraw.Draw(block).text((4, 3), name, 255, ImageFont.load_default(13))
    for i, image in enumerate(row):
        block.paste(ImageOps.contain(image, (_CELL, _CELL)), (i * (_CELL + _GAP), 18))
    return block
