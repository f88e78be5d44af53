"""Exercises of chapter 12, evaluation."""

from ...run.evaluation import Result
from ..exercises import Verdict, exercise, right, to_number, wrong


@exercise(
    "12.1",
    hints=[
        "The interval is ±1.96 √(ρ (1 − ρ) / E). Set it to 0.01.",
        "Solve 1.96² · 0.8 · 0.2 / E = 0.01² for E.",
    ],
    solution="$E = 1.96^2 \\cdot 0.8 \\cdot 0.2 \\, / \\, 0.01^2 \\approx 6{,}147$.",
)
def check_episodes_needed(answer: object) -> Verdict:
    given = to_number(answer)
    true = 1.96**2 * 0.8 * 0.2 / 0.01**2
    if abs(given / true - 1) < 0.02:
        return right("About 6,150. The 1,000 episodes of the protocol give ±2.5 points.")
    if abs(given / (true / 4) - 1) < 0.02:
        return wrong("±1 point is an interval that is 2 points wide, not 4.")
    if abs(given / (true / 1.96**2) - 1) < 0.02:
        return wrong("That is one standard deviation, which contains only 68 %.")
    return wrong(f"{given:g} is too {'many' if given > true else 'few'}; solve 1.96 √(ρ (1 − ρ) / E) = 0.01 for E.")


@exercise(
    "12.2",
    hints=["All five predictions have to be right at once. If they are independent, multiply."],
    solution="$100 \\cdot 0.9^5 \\approx 59$. In practice presences are not independent. A query that is hard for one "
    "way is often hard for the others too, so wrong predictions gather in fewer episodes, "
    "and ER is higher than $\\rho^N$.",
)
def check_five_ways(answer: object) -> Verdict:
    given = to_number(answer)
    true = 100 * 0.9**5
    if abs(given - true) < 0.6:
        return right("0.9 to the power of 5. A curve above that value has errors that occur in the same episodes.")
    if abs(given - 50) < 0.6:
        return wrong("Multiply the probabilities of being right; do not add those of being wrong.")
    if abs(given - true / 100) < 0.006:
        return wrong("The value is right, but give it in %.")
    return wrong(f"{given:g} is too {'high' if given > true else 'low'}; all five have to be right at once.")


@exercise(
    "12.3",
    hints=[
        "For class c, collect the pairs `counts[c]` of all episodes that have c and a union above 0.",
        "Divide within each episode, take the mean of a class's episodes, then the mean of the classes.",
    ],
    solution="```python\nmeans = []\nfor c in bench.class_ids:\n"
    "    pairs = [counts[c] for counts in results[reference].counts if c in counts]\n"
    "    means.append(np.mean([inter / union for inter, union in pairs if union]))\n"
    "answer = 100 * np.mean(means)\n```\n\n"
    "Now every episode has the same weight. With summed pixels, episodes with large objects have more. And an episode "
    "with a false alarm has IoU 0 here, however few pixels were marked.",
)
def check_mean_of_episodes(answer: object, result: Result) -> Verdict:
    given = to_number(answer)
    true = mean_of_episodes(result)
    if abs(given - true) < 0.05:
        return right(f"{true:.1f} %, compared with {result.miou:.1f} % when pixels are summed first.")
    if abs(given - true / 100) < 0.0005:
        return wrong("The value is right, but give it in %.")
    if abs(given - result.miou) < 0.05:
        return wrong("That is the mIoU of the protocol, which sums pixels over the episodes first.")
    return wrong("Divide within each episode, then take the mean over a class's episodes, then over the classes.")


def mean_of_episodes(result: Result) -> float:
    """mIoU in % when every episode of a class has the same weight; a class without episodes counts as 0."""
    means = []
    for c in result.iou_per_class:
        pairs = [counts[c] for counts in result.counts if counts.get(c, (0, 0))[1]]
        means.append(sum(inter / union for inter, union in pairs) / max(len(pairs), 1))
    return 100 * sum(means) / len(means)
