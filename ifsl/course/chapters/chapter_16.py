"""Exercises of chapter 16, tokens and transformers."""

from ..exercises import Verdict, exercise, right, to_number, to_numbers, wrong


@exercise(
    "16.1",
    hints=[
        "First 20 × 20 cells, then 10 × 10. What does the second layer make of these? The class token is never reduced."
    ],
    solution="`(401, 101, 2)`. 20 × 20 cells and the class token are 401; stride 2 leaves 10 × 10, which makes 101; "
    "stride 2 again leaves 5 × 5, and the average over 5 × 5 leaves one cell, which makes 2.",
)
def check_tokens(answer: object) -> Verdict:
    given = to_numbers(answer, 3)
    if given == [401, 101, 2]:
        return right("20 × 20, 10 × 10 and 1 cell, each with the class token.")
    if given == [400, 100, 1]:
        return wrong("These are the cells; the class token is missing in each.")
    if given[:2] == [401, 101]:
        return wrong("The first two are right. In the second layer, 10 × 10 becomes 5 × 5, and then comes the average.")
    if given == [145, 10, 2]:
        return wrong("These are CST's tokens; EMAT's grid has 20 × 20 cells.")
    return wrong("A grid of n × n cells has n² tokens and the class token; stride 2 halves n.")


@exercise(
    "16.2",
    hints=[
        "CST: is the largest foreground probability at least 0.5?",
        "ASNet: the background probabilities are 0.45 and 0.95. Compare the mean of their logarithms with the "
        "logarithms of the foregrounds.",
    ],
    solution="`(1, 0)`. CST: the largest foreground is 0.55, which is at least 0.5, so the pixel belongs to way 1. "
    "ASNet: the mean of log 0.45 and log 0.95 is the logarithm of √(0.45 · 0.95) = 0.65, which is larger than 0.55, so "
    "the pixel is background.",
)
def check_rules(answer: object) -> Verdict:
    given = to_numbers(answer, 2)
    if given == [1, 0]:
        return right("0.55 is at least 0.5, but less than ASNet's background of √(0.45 · 0.95) = 0.65.")
    if given[0] != 1:
        return wrong("By CST's rule the largest foreground wins if it is at least 0.5; here it is 0.55.")
    return wrong("The first is right. ASNet's background is the mean of the logarithms of 1 − 0.55 and 1 − 0.05.")


@exercise(
    "16.3",
    hints=["Which row differs from EMAT's in nothing but the learner?"],
    solution="CST* has EMAT's backbone and image side. The learner brought 82.70 − 80.58 = 2.12 of the 12.3 points, "
    "which is 17 %.",
)
def check_share(answer: object) -> Verdict:
    given = to_number(answer)
    if 16.5 <= given <= 17.5:
        return right("2.1 of 12.3 points; the other 10.2 came with the backbone and the image side.")
    if 0.165 <= given <= 0.175:
        return wrong("The share is right; give it in percent.")
    if 82 <= given <= 84:
        return wrong("That is the share of backbone and image side.")
    if 2.0 <= given <= 2.2:
        return wrong("These are the points; divide them by the whole gain.")
    return wrong("Divide the step from CST* to EMAT by the step from CST to EMAT.")
