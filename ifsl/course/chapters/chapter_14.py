"""Exercises of chapter 14, your own images."""

import numpy as np

from ..exercises import Verdict, exercise, right, to_function, to_numbers, wrong


@exercise(
    "14.1",
    hints=["Compare the ids with c, and remember that every value above 0 is marked, void too."],
    solution="```python\ndef answer(ids, c):\n    return 255 * (ids == c).astype(np.uint8)\n```\n\n"
    "Without the factor 255 it is read in the same way, but you cannot see it.",
)
def check_mask(answer: object) -> Verdict:
    make = to_function(answer)
    ids = np.array([[0, 1, 1, 255], [0, 3, 3, 255], [3, 3, 0, 0]], np.uint8)
    for c in (3, 1):
        made = np.asarray(make(ids.copy(), c))
        if made.shape != ids.shape or made.dtype != np.uint8:
            return wrong(f"Return an array {ids.shape} of uint8; this is {made.shape} of {made.dtype}.")
        if (made[ids == 255] > 0).any():
            return wrong("Void is marked. Everything that is not black is the object.")
        if (made[(ids != c) & (ids != 255)] > 0).any():
            return wrong(f"For class {c}, pixels of something else are marked as well.")
        if not made[ids == c].all():
            return wrong(f"Not every pixel of class {c} is marked.")
    return right("Only the pixels of the class are not black.")


@exercise(
    "14.2",
    hints=["K is the same for every class. For the images, count N · K examples and the photograph."],
    solution="`(3, 4, 13)`. An episode is a tensor (1, N, K, 3, S, S), so K is the same for all classes: as many as "
    "every class has, and at most five unless `shot` asks for more. The images are 3 · 4 + 1 = 13.",
)
def check_counts(answer: object) -> Verdict:
    way, shot, images = to_numbers(answer, 3)
    if (way, shot, images) == (3, 4, 13):
        return right("Every class gives as many examples as the smallest has: 3 · 4 examples, and the photograph.")
    if (way, shot) == (3, 4):
        return wrong("N and K are right. Count N · K examples and the photograph; masks are not images here.")
    if shot in (5, 6, 7, 17):
        return wrong("All classes have the same number of shots, and one of them has only 4 photographs.")
    return wrong("N is the number of sub-folders; K is the same for all of them.")


@exercise(
    "14.3",
    hints=["Each example votes. What does chapter 04 say about a tie?"],
    solution="`(2, 3)`. The shots vote; the class is present if at least half of the votes are yes: 2 of 4, 3 of 5.",
)
def check_votes(answer: object) -> Verdict:
    four, five = to_numbers(answer, 2)
    if (four, five) == (2, 3):
        return right("At least half of the votes, so a tie counts as yes.")
    if (four, five) == (3, 3):
        return wrong("Two of four votes are a tie. What does a tie count as? (Chapter 04.)")
    if (four, five) == (2, 2):
        return wrong("Two of five votes are less than half.")
    return wrong("Each example votes, and at least half of the votes must be yes.")
