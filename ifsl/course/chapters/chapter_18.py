"""Exercises of chapter 18, the same, faster."""

from ..exercises import Verdict, exercise, right, to_number, to_numbers, wrong


@exercise(
    "18.1",
    hints=["There is one logit for each query cell, head, query and key. The mask removes keys only."],
    solution="`(2500 * 8 * 49 * 49, 2500 * 8 * 49 * 12)`, that is 48,020,000 and 11,760,000.",
)
def check_logits(answer: object) -> Verdict:
    given = to_numbers(answer, 2)
    plain, twin = 2500 * 8 * 49 * 49, 2500 * 8 * 49 * 12
    if given == [plain, twin]:
        return right("The mask leaves a quarter of the work.")
    if given == [plain, 2500 * 8 * 12 * 12]:
        return wrong("Only keys are left out; all 49 queries still need a result.")
    if given == [twin, plain]:
        return wrong("These are the right numbers in the wrong order: plain comes first.")
    return wrong("Multiply query cells, heads, queries and keys.")


@exercise(
    "18.2",
    hints=[
        "Each of the 4 outputs multiplies 9 pairs of kernel weight and input.",
        "In each output position, only 4 of the 9 weights lie on the 2 x 2 grid; the others lie on the padding.",
    ],
    solution="There are 4 · 9 = 36 products. In each of the 4 positions, the 3 x 3 kernel covers the whole 2 x 2 grid "
    "and 5 cells of padding. So 20 of 36 products, 56 %, multiply by zero.",
)
def check_padding(answer: object) -> Verdict:
    given = to_number(answer)
    true = 100 * 20 / 36
    if abs(given - true) < 0.6:
        return right("20 of 36 products multiply by zero, in every channel.")
    if abs(given - true / 100) < 0.006:
        return wrong("The value is right, but give it in %.")
    if abs(given - (100 - true)) < 0.6:
        return wrong("That is the share of useful products.")
    if abs(given - 75) < 0.6:
        return wrong("That is the share of padding cells in the padded 4 x 4 input; count products instead.")
    return wrong(f"{given:g} is too {'high' if given > true else 'low'}; count the kernel weights on the 2 x 2 grid.")
