"""Where the number of a way is drawn on a mask: on it, or beside it where it would cover most of it."""

import numpy as np

from ifsl.pictures.canvas import find_number_spot


def square(top: int, left: int, side: int) -> np.ndarray:
    inside = np.zeros((100, 120), bool)
    inside[top : top + side, left : left + side] = True
    return inside


def test_large_mask_has_its_number_in_the_middle() -> None:
    x, y = find_number_spot(square(20, 30, 40), square(20, 30, 40), 6)
    assert abs(x - 49.5) <= 1 and abs(y - 39.5) <= 1


def test_number_is_beside_a_small_mask() -> None:
    for top, left in ((50, 60), (50, 115), (0, 0), (95, 110)):
        inside = square(top, left, 5)
        x, y = find_number_spot(inside, inside, 6)
        down, across = np.nonzero(inside)
        assert np.hypot(across - x, down - y).min() > 6 and 6 <= x < 114 and 0 <= y < 100


def test_number_of_a_small_mask_inside_another_covers_the_other() -> None:
    inside = square(50, 60, 5)
    x, y = find_number_spot(inside, np.ones_like(inside), 6)
    assert x > 64 + 6 and 50 <= y < 55


def test_number_stays_on_a_mask_that_leaves_no_room() -> None:
    inside = np.zeros((10, 10), bool)
    inside[4:6] = True
    x, y = find_number_spot(inside, inside, 6)
    assert inside[int(y), int(x)]
