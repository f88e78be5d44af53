"""Exercises of chapter 04, from maps to predictions."""

import math

import torch

from ...learners.maps import find_present
from ..exercises import Verdict, exercise, right, to_function, to_number, wrong


@exercise(
    "04.1",
    hints=["Channel 1 of axis 2 has the foreground. Take its largest value over the cells, and compare logarithms."],
    solution="""```python
def answer(log_prob, tau):
    return log_prob[:, :, 1].amax(dim=(-2, -1)).exp() >= tau
```""",
)
def check_presence(answer: object) -> Verdict:
    log_prob = torch.randn(5, 3, 2, 4, 6, generator=torch.Generator().manual_seed(1)).log_softmax(dim=2)
    for tau in (0.5, 0.9, 0.97):
        given = torch.as_tensor(to_function(answer)(log_prob.clone(), tau))
        true = find_present(log_prob, math.log(tau))
        if given.shape != true.shape:
            return wrong(f"For maps {tuple(log_prob.shape)} the shape is {tuple(given.shape)}, not (5, 3).")
        if torch.equal(given.bool(), true):
            continue
        if torch.equal(given.bool(), log_prob[:, :, 0].amax(dim=(-2, -1)).exp() >= tau):
            return wrong("That is the rule for the background; channel 1 is the foreground.")
        if torch.equal(given.bool(), log_prob[:, :, 1].mean(dim=(-2, -1)).exp() >= tau):
            return wrong("That compares the mean over the cells; the rule takes the largest value.")
        return wrong(f"Not at τ = {tau}: compare the largest foreground of all cells, a logarithm, with log τ.")
    return right("One cell that reaches the threshold is enough.")


@exercise(
    "04.2",
    hints=[
        "Presence is decided for each way alone.",
        "The background's score is the mean of log(1 − 0.55) and log(1 − 0.02).",
    ],
    solution="`(True, 0)`. Class 1 is present because $0.55 \\ge 0.5$. The merged background is "
    "$\\frac12 (\\log 0.45 + \\log 0.98) = \\log 0.664$, which is larger than $\\log 0.55$ and $\\log 0.02$.",
)
def check_merging(answer: object) -> Verdict:
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        return wrong("Give a pair such as (False, 2).")
    present, label = answer
    if not isinstance(present, bool) or to_number(label) not in (0, 1, 2):
        return wrong("Give a pair of True or False and a label, which is 0, 1 or 2.")
    if not present:
        return wrong("0.55 reaches the threshold of 0.5, and presence does not depend on the other way.")
    if label == 1:
        return wrong("The background of the merged maps is the mean of both log-backgrounds, and it is larger here.")
    if label == 2:
        return wrong("Way 2 gives its foreground only 0.02; compare the three scores of the cell.")
    return right("exp((log 0.45 + log 0.98) / 2) = 0.66 is more than 0.55: the class is present and has no pixel.")


@exercise(
    "04.3",
    hints=[
        "Sum I and U of each class over its episodes before you divide.",
        "Class B has no pixel in common with the truth, and 50 pixels in the union.",
    ],
    solution="Class A: $(10 + 270) / (100 + 300) = 70\\,\\%$. Class B: the 50 predicted pixels are all in the union, "
    "none in the intersection, so its IoU is 0 %. The mean is 35 %.",
)
def check_miou(answer: object) -> Verdict:
    given = to_number(answer)
    slips = {
        25.0: "Class A's IoU is not the mean of 10 % and 90 %: sum the pixels over the episodes before you divide.",
        70.0: "Class B counts, too. None of its 50 predicted pixels is right, so its IoU is 0 / 50.",
        100 / 3: "mIoU is a mean over classes, not over episodes.",
        50.0: "Sum class A's pixels over its episodes before you divide, and count class B, too.",
        100 * 280 / 450: "Keep the classes apart: an IoU for each class, then the mean over the classes.",
        0.35: "The answer is asked in %.",
    }
    if abs(given - 35) < 0.01:
        return right("(280 / 400 + 0 / 50) / 2.")
    for value, why in slips.items():
        if abs(given - value) < 0.002 * value:
            return wrong(why)
    return wrong("Sum I and U for each class first, divide, then take the mean over the two classes.")
