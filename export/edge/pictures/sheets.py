"""Pictures laid out on a sheet, to be looked at side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from export.edge.disk.names import as_text
from export.edge.errors import UserError
from export.edge.pictures.arrays import resize

BACKGROUND = (250, 250, 248)
INK = (40, 40, 44)


def grid(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), gap: int = 4) -> np.ndarray:
    """Pictures in rows on a light background, with a title over each column; uint8 (height, width, 3).

    Every picture is brought to one height, that of the tallest, keeping its aspect ratio.
    Rows may differ in length. Raises UserError when there is no picture at all or there are more titles than columns.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise UserError("a grid of no pictures; give at least one")
    if len(titles) > columns:
        raise UserError(f"{len(titles)} titles for {columns} columns; give one for each column at most")
    height = max(picture.shape[0] for row in rows for picture in row)
    cells = [[resize(p, height, max(1, round(p.shape[1] * height / p.shape[0]))) for p in row] for row in rows]

    titles = [as_text(title) for title in titles]
    font = ImageFont.load_default()
    boxes = [font.getbbox(title) for title in titles] + [(0, 0, 0, 0)] * (columns - len(titles))
    band = int(max(box[3] for box in boxes)) + 2 * gap if titles else 0
    widths = [max(int(boxes[c][2]), *(row[c].shape[1] for row in cells if c < len(row))) for c in range(columns)]
    lefts = [gap + sum(widths[:c]) + gap * c for c in range(columns)]
    sheet = Image.new("RGB", (sum(widths) + gap * (columns + 1), band + (height + gap) * len(rows) + gap), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for c, title in enumerate(titles):
        draw.text((lefts[c] + (widths[c] - int(boxes[c][2])) // 2, gap), title, fill=INK, font=font)
    for r, row in enumerate(cells):
        for c, cell in enumerate(row):
            place = (lefts[c] + (widths[c] - cell.shape[1]) // 2, gap + band + r * (height + gap))
            sheet.paste(Image.fromarray(cell), place)
    return np.array(sheet)


def film_strip(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures side by side in one row, in order; uint8 (height, width, 3)."""
    return grid([frames])
