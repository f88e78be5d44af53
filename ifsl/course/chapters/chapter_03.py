"""Exercises of chapter 03, features and correlation."""

import torch

from ...learners.correlation import correlation_pyramid, normalize
from ..exercises import Verdict, exercise, right, to_function, to_numbers, wrong


@exercise(
    "03.1",
    hints=["Which cosines become 0 in the correlation?"],
    solution="(b). The cosine of the two features was 0 or negative, and negative values are set to 0.",
)
def check_zero(answer: object) -> Verdict:
    letter = answer.strip().strip("().").lower() if isinstance(answer, str) else ""
    if letter == "b":
        return right("The cosine was 0 or negative, and negative values are set to 0.")
    if letter == "a":
        return wrong("Two features of the same direction have the cosine 1.")
    if letter == "c":
        return wrong("The correlation is computed without the mask; the mask comes in later.")
    return wrong("Answer with 'a', 'b' or 'c'.")


@exercise(
    "03.2",
    hints=[
        "The tensor has the axes L, query height, query width, support height, support width.",
        "Pooling changes only the grid of the support.",
    ],
    solution="`(25_000_000, 4)`: there are $4 \\cdot 50^2 \\cdot 50^2$ values, and $50^2 / 25^2 = 4$.",
)
def check_size(answer: object) -> Verdict:
    values, factor = to_numbers(answer, 2)
    if (values, factor) == (25_000_000, 4):
        return right("4 · 50² · 50² values are 100 MB in single precision; pooled, 4 · 50² · 25² are a quarter of it.")
    if values == 25_000_000:
        return wrong("The number of values is right. The factor is not: only the two axes of the support are halved.")
    if values == 50**4:
        return wrong("That is one bottleneck; the level has L = 4 of them.")
    if values == 4 * 50**2:
        return wrong("That counts the cells of the query only; each is compared with every cell of the support.")
    return wrong("Multiply L, the query's height and width, and the support's height and width.")


@exercise(
    "03.3",
    hints=[
        "With flatten(1), a map (D, H, W) becomes a matrix (D, H · W) with a column for each cell.",
        "The product of one matrix, transposed, with the other has all dot products.",
    ],
    solution="""```python
def answer(q, s):
    q_cells, s_cells = (x.flatten(1) / (x.flatten(1).norm(dim=0) + 1e-5) for x in (q, s))  # (D, cells)
    return (q_cells.T @ s_cells).clamp(min=0).reshape(*q.shape[1:], *s.shape[1:])
```""",
)
def check_correlation(answer: object) -> Verdict:
    source = torch.Generator().manual_seed(3)
    q, s = torch.randn(8, 2, 3, generator=source), 5 * torch.randn(8, 4, 5, generator=source)
    true = correlation_pyramid(*(normalize([[x[None]]]) for x in (q, s)))[0][0, 0]
    given = torch.as_tensor(to_function(answer)(q.clone(), s.clone()), dtype=true.dtype)
    if given.shape != true.shape:
        return wrong(f"For maps {tuple(q.shape)} and {tuple(s.shape)} the shape is {tuple(given.shape)}, "
                     f"not {tuple(true.shape)}.")  # fmt: skip
    if torch.allclose(given, true, atol=1e-4):
        return right("These are the values of correlation_pyramid.")
    if torch.allclose(given.clamp(min=0), true, atol=1e-4):
        return wrong("Set negative cosines to 0.")
    if given.max() > 1.001:
        return wrong("Divide each feature by its length; a cosine is never above 1.")
    return wrong("The values differ from those of correlation_pyramid; is the order of the axes right?")
