"""Exercises of chapter 00, start here."""

from ...data.benchmarks import Benchmark
from ..exercises import Verdict, exercise, right, to_number, to_numbers, to_whole_number, wrong
from ..presence import count_shown


@exercise(
    "00.1",
    hints=["Each class is there or not, whatever the others are. How many choices is that for two classes?"],
    solution="2⁵ = 32, the empty answer included. An episode counts for ER only if all five presences are right; "
    "flipping a coin for each class gives an ER of about 3 %.",
)
def check_answers(answer: object) -> Verdict:
    count = to_whole_number(answer)
    if count == 32:
        return right("Each of the five classes is there or not: 2 to the power of 5.")
    if count == 31:
        return wrong("The empty answer, no class at all, counts too; FS-CS allows it.")
    if count in (5, 6):
        return wrong("That would be one class out of five (or none), but any subset of them may be there.")
    if count == 10:
        return wrong("That is 2 · 5. The choices for the five classes multiply.")
    return wrong("Each class is there or not, whatever the others are; the choices multiply.")


@exercise(
    "00.2",
    hints=["In a 1-way episode, one of the two replies is right. In which episodes is it “it is there”?"],
    solution="The query of a 1-way episode shows the class or does not, so exactly one of the two replies is right, "
    'and their ER sum to 100 %:\n\n```python\nanswer = 100 - results["always “not there”"].er\n```',
)
def check_always_there(answer: object, bench: Benchmark, episodes: int) -> Verdict:
    given = to_number(answer)
    true = 100 * sum(count_shown(bench, 1, episodes)) / episodes
    if abs(given - true) < 0.06:
        return right("It is right in exactly the episodes in which “not there” is wrong.")
    if abs(given - true / 100) < 0.0006:
        return wrong("ER is given in %; multiply by 100.")
    if abs(given - (100 - true)) < 0.06:
        return wrong("That is the ER of “not there”.")
    return wrong(f"{given:g} is too {'high' if given > true else 'low'}; compare with the ER of “not there”.")


@exercise(
    "00.3",
    hints=["Count the support images, then the query. Which of them come with a mask?"],
    solution="N · K + 1 = 26 images and N · K = 25 masks. In the weak setting of chapter 10 a learner gets class tags "
    "only, and no mask at all.",
)
def check_images(answer: object) -> Verdict:
    given = to_numbers(answer, 2)
    if given == [26, 25]:
        return right("5 · 5 supports with a mask each, and the query without one.")
    if given == [25, 26]:
        return wrong("Images first, then masks.")
    if given == [26, 26]:
        return wrong("The query's mask is what the learner has to predict; it does not get it.")
    if given == [25, 25]:
        return wrong("The query is an image, too.")
    return wrong("There are N · K supports, each with a mask, and one query.")
