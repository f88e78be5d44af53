"""Exercises of chapter 02, episodes."""

from ...data.benchmarks import Benchmark
from ..exercises import Verdict, exercise, right, to_number, to_whole_number, wrong


@exercise(
    "02.1",
    hints=["Fold i tests the classes i + 1, i + 5, i + 9, … For which i does 37 occur?"],
    solution="Fold 0. It tests 1, 5, 9, …, all classes with (c − 1) mod 4 = 0, and 36 mod 4 = 0. "
    'In code: `37 in fold_classes("coco", 0, "val")`.',
)
def check_fold(answer: object) -> Verdict:
    fold = to_whole_number(answer)
    if fold == 0:
        return right("37 = 0 + 1 + 4 · 9, so fold 0 tests it.")
    if fold == 37 % 4:
        return wrong("37 mod 4 is 1, but class numbers start at 1, so the fold is (c − 1) mod 4.")
    return wrong("Fold i tests the classes i + 1, i + 5, i + 9, …; look for 37.")


@exercise(
    "02.2",
    hints=[
        "Add two cases: the first draw takes the query's class, or the second draw does.",
        "After another class is taken, the remaining probabilities are divided by their sum, which is 37/38.",
    ],
    solution="The first draw takes the query's class with probability 1/2. Otherwise it takes one of the others, which "
    "had 1/38; the remaining probabilities sum to 37/38, so the second draw takes the query's class with "
    "(1/2) / (37/38) = 19/37. Together 1/2 + 1/2 · 19/37 ≈ 0.757.",
)
def check_chance(answer: object) -> Verdict:
    given = to_number(answer)
    true = 1 / 2 + 1 / 2 * 19 / 37
    if abs(given - true) < 0.0006:
        return right("Either the first draw takes it (1/2), or the second does after another class (1/2 · 19/37).")
    if abs(given - 0.75) < 0.0006:
        return wrong("Close: 3/4 would be right if the second draw took it with probability 1/2 again.")
    return wrong(f"{given:g} is too {'high' if given > true else 'low'}; add the probabilities of the two draws.")


@exercise(
    "02.3",
    hints=["bench.episode(i, 2, 1, size).presence shows which of its classes the query contains. Loop over i."],
    solution="```python\nanswer = next(i for i in range(1000) if not bench.episode(i, 2, 1, size).presence.any())\n"
    "ifsl.show(bench.episode(answer, 2, 1, size))\n```",
)
def check_first_empty(answer: object, bench: Benchmark) -> Verdict:
    index = to_whole_number(answer)
    if not 0 <= index < 1000:
        return wrong("An index is a whole number from 0 to 999.")
    if bench.episode(index, 2, 1, 32).presence.any():
        return wrong(f"The query of episode {index} shows at least one of its two classes.")
    earlier = [i for i in range(index) if not bench.episode(i, 2, 1, 32).presence.any()]
    if earlier:
        return wrong(f"The query of episode {index} is empty, but it is not the first.")
    return right(f"The query of episode {index} is empty, and none before it is.")
