"""The picture of one pair."""

import numpy as np

from visualize.pair import draw

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def row(*indices):
    return {"response": "first one .", "info": {"selected_indices": list(indices)}}


def test_the_clips_stand_in_the_order_of_the_video_and_below_in_that_of_the_rejected_text():
    frames = [np.full((8, 8, 3), colour, np.uint8) for colour in (RED, GREEN, BLUE)]
    picture = draw(frames, row(0, 1, 2), row(2, 0))
    columns, above, below = [323, 899, 1475], 405, 1081  # centres of the frames, pixels
    assert [picture.getpixel((x, above)) for x in columns] == [RED, GREEN, BLUE]
    assert [picture.getpixel((x, below)) for x in columns] == [BLUE, RED, (255, 255, 255)]
