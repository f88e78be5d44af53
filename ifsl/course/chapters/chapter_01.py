"""Exercises of chapter 01, the task."""

from ...data.benchmarks import Benchmark
from ...errors import shown
from ..exercises import Verdict, exercise, right, to_number, to_numbers, to_whole_number, wrong
from ..presence import count_shown, find_shown


@exercise(
    "01.1",
    hints=["Write the vectors down: where may the 1s be if exactly one class is there? If all are? If any may be?"],
    solution="`(3, 1, 8)`: a single 1 in one of three places; only (1, 1, 1); and 2³ vectors, (0, 0, 0) included.",
)
def check_vectors(answer: object) -> Verdict:
    given = to_numbers(answer, 3)
    if given == [3, 1, 8]:
        return right("A single 1 in one of three places; only (1, 1, 1); and every vector.")
    if given[2] == 7:
        return wrong("FS-CS also allows the empty answer (0, 0, 0).")
    if given[1] != 1:
        return wrong("FS-S assumes that every class is there, so only one vector is possible.")
    if given[0] != 3:
        return wrong("FS-C assumes exactly one class, so the vector has a single 1. In how many places can it be?")
    return wrong("In FS-CS each of the three numbers is 0 or 1, whatever the others are.")


@exercise(
    "01.2",
    hints=[
        "The reply is right in the episodes whose query shows none of the three classes.",
        "counts[3] has, for each of the 1,000 episodes, how many of the three classes the query shows.",
    ],
    solution="```python\nanswer = 100 * np.mean(np.array(counts[3]) == 0)\n```",
)
def check_none(answer: object, bench: Benchmark, episodes: int) -> Verdict:
    given = to_number(answer)
    found = count_shown(bench, 3, episodes)
    true = 100 * found.count(0) / episodes
    if abs(given - true) < 0.051:
        return right("The reply is right in the episodes whose query shows none of the classes, and only there.")
    if abs(given - true / 100) < 0.00051:
        return wrong("ER is given in %; multiply by 100.")
    if abs(given - (100 - true)) < 0.051:
        return wrong("That is the share of the episodes in which the reply is wrong.")
    if abs(given - 100 * sum(count < 3 for count in found) / episodes) < 0.051:
        return wrong("One class that is there makes the reply wrong; not all three have to be.")
    return wrong(f"{given:g} is too {'high' if given > true else 'low'}; count the episodes whose query shows none.")


@exercise(
    "01.3",
    hints=["find_shown(bench, bench.entries[0][0]) has the ids of the classes that the image shows."],
    solution="```python\nthere = find_shown(bench, bench.entries[0][0])\n"
    "answer = [c for c in bench.class_ids if c not in there][:2]\nifsl.show(ask(0, answer))\n```",
)
def check_absent_pair(answer: object, bench: Benchmark) -> Verdict:
    ids = [to_whole_number(one) for one in to_numbers(answer, 2)]
    if len(set(ids)) != 2 or not set(ids) <= set(bench.class_ids):
        return wrong(f"Give two different ids out of {shown(bench.class_ids)}.")
    there = [bench.class_names[c] for c in ids if c in find_shown(bench, bench.entries[0][0])]
    if there:
        return wrong(f"The query shows {' and '.join(there)}.")
    return right("The query shows neither of them.")
