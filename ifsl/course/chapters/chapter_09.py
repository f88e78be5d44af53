"""Exercises of chapter 09, hybrid masking."""

import torch
from torch import Tensor

from ...learners.hybrid_masking import merge_masked
from ...learners.maps import resize
from ..exercises import Verdict, exercise, right, to_function, to_numbers, wrong


@exercise(
    "09.1",
    hints=["Count the query once, and all N · K supports: once in ASNet, whole and cut out in HM."],
    solution="`answer = (11, 21)`: 1 + N · K = 11 and 1 + 2 · N · K = 21.",
)
def check_images(answer: object) -> Verdict:
    given = to_numbers(answer, 2)
    if given == [11, 21]:
        return right("The query once, and the ten supports once or twice.")
    if given in ([10, 20], [12, 22]):
        return wrong("The query counts exactly once: both ways share it.")
    if given == [11, 22]:
        return wrong("The query has no mask, so HM encodes it once.")
    return wrong("Count the query and the N · K supports; HM encodes each support whole and cut out.")


@exercise(
    "09.2",
    hints=["What is the masked image when the mask is 1 everywhere? Then compare the two cases of the definition."],
    solution="(a). With a mask of 1 everywhere the masked image is the image itself, so both kinds of features are "
    "the plain ones. In this case HM is ASNet.",
)
def check_full_mask(answer: object) -> Verdict:
    letter = answer.strip().strip("()").lower() if isinstance(answer, str) else answer
    if letter == "a":
        return right("Both kinds are the plain features here, so it does not matter which one is taken.")
    if letter == "b":
        return wrong("Where feature masking is not positive, HM takes input masking, which is not 0 there.")
    if letter == "c":
        return wrong("HM takes one of the two for each entry; it never adds them.")
    return wrong('Answer with "a", "b" or "c".')


@exercise(
    "09.3",
    hints=[
        "`weight = resize(masks[:, None], features.shape[-2:])` is the mask on the features' grid.",
        "torch.where(weight > 0, …, …) chooses for a whole cell. Feature masking multiplies by the weight.",
    ],
    solution="""```python
def answer(features, of_masked_image, masks):
    weight = resize(masks[:, None], features.shape[-2:])
    return torch.where(weight > 0, features * weight, of_masked_image)
```

Inside the mask the correlations would be those of ASNet, because a cosine does not depend on the weight. Only the cells
outside would differ, and the attention does not look there. (ASNet's strided convolutions do.)""",
)
def check_by_cell(answer: object) -> Verdict:
    function = to_function(answer)
    source = torch.Generator().manual_seed(3)
    f, i = torch.randn(2, 6, 5, 5, generator=source), torch.randn(2, 6, 5, 5, generator=source)
    masks = torch.zeros(2, 20, 20)
    masks[:, 6:15, 3:11] = 1
    weight = resize(masks[:, None], (5, 5))
    true = torch.where(weight > 0, f * weight, i)
    given = function(f.clone(), i.clone(), masks.clone())
    if not isinstance(given, Tensor) or given.shape != true.shape:
        return wrong(f"Return a tensor of the features' shape, here {tuple(true.shape)}.")
    if torch.allclose(given, true, atol=1e-5):
        return right("Inside the mask about half of the entries differ from those of HM.")
    if torch.allclose(given, merge_masked(f, i, masks), atol=1e-5):
        return wrong("This is HM, which decides by the sign of each entry. Decide by the mask instead.")
    if torch.allclose(given, torch.where(weight > 0, f, i), atol=1e-5):
        return wrong("Almost: feature masking multiplies by the resized mask, also at its edge.")
    return wrong("Use feature masking where the resized mask is above 0, and the masked image's features elsewhere.")
