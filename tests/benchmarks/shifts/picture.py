"""Contact sheet of images under every change and strength, to check that they remain readable."""

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tests.benchmarks.shifts.changes import CHANGES, STRENGTHS

_CELL = 150
_GAP = 4


def contact_sheet(originals: list[Image.Image]) -> Image.Image:
    """Draw images and their changes; cells keep the aspect ratio of the changed image.

    Parameters
    ----------
    originals : list of Image
        8-bit gray images.

    Returns
    -------
    Image
        One block per change: the original and strengths 1, 2 and 3 for each image.
    """
    blocks = [_block(name, originals) for name in CHANGES]
    columns = 2 if len(originals) == 1 else 1
    width, height = blocks[0].size
    sheet = Image.new("L", (columns * width, -(-len(blocks) // columns) * height), 60)
    for i, block in enumerate(blocks):
        sheet.paste(block, (i % columns * width, i // columns * height))
    return sheet


def _block(name: str, originals: list[Image.Image]) -> Image.Image:
    row = [
        image
        for original in originals
        for image in (original, *(CHANGES[name](original, strength) for strength in STRENGTHS))
    ]
    block = Image.new("L", (len(row) * (_CELL + _GAP), _CELL + 20), 60)
    ImageDraw.Draw(block).text((4, 3), name, 255, ImageFont.load_default(13))
    for i, image in enumerate(row):
        block.paste(ImageOps.contain(image, (_CELL, _CELL)), (i * (_CELL + _GAP), 18))
    return block
