"""Exercises of chapter 13, full training."""

from ..exercises import Verdict, exercise, right, to_number, to_numbers, to_whole_number, wrong


@exercise(
    "13.1",
    hints=["Steps times episodes in a step is the number of episodes seen. Divide it by the episodes of an epoch."],
    solution='```python\nanswer = int(rows[-1]["step"]) * settings.bsz / len(trn)\n```\n\n'
    "With several processes each takes a batch of its own, so multiply by their number.",
)
def check_epochs(answer: object, steps: int, bsz: int, epoch: int) -> Verdict:
    given = to_number(answer)
    true = steps * bsz / epoch
    if abs(given - true) < 0.006:
        return right(f"{true:.2f} epochs. The published recipe allows up to 2,000.")
    if abs(given - steps / epoch) < 0.006:
        return wrong("A step takes a whole batch of episodes.")
    if abs(given - true * bsz) < 0.006:
        return wrong("The batch counts once: steps times batch is the number of episodes.")
    return wrong(f"{given:g} is too {'high' if given > true else 'low'}; divide the episodes seen by an epoch.")


@exercise(
    "13.2",
    hints=[
        "mIoU decides in strong training, ER in weak training.",
        "best_model.ckpt is written only if the deciding metric is higher than ever before.",
    ],
    solution="`(200, 300)`. Strong: the highest mIoU is 33.1 at step 200, although ER rises afterwards. Weak: ER is "
    "74.0 at step 300; at step 400 it is equal, not higher, so nothing is written.",
)
def check_best_steps(answer: object) -> Verdict:
    given = to_numbers(answer, 2)
    if given == [200, 300]:
        return right("mIoU decides in strong training, ER in weak training; an equal value is no improvement.")
    if given == [200, 400]:
        return wrong("The second is wrong: at step 400 ER equals the best so far, so nothing is written.")
    if given == [300, 200]:
        return wrong("These are the right steps in the wrong order: strong comes first.")
    return wrong("Which of the two metrics decides in strong training, and which in weak training?")


@exercise(
    "13.3",
    hints=["After which step was last.ckpt written for the last time? Only steps that were completed are lost."],
    solution="The last validation was after step 1,250, and `last.ckpt` was written there. Steps 1,251 to 1,429 were "
    "complete when the job was killed: $1429 - 1250 = 179$ steps are repeated, with the same episodes and the same "
    "result. A smaller `val_every` loses less and validates more often.",
)
def check_lost_steps(answer: object) -> Verdict:
    given = to_whole_number(answer)
    if given == 179:
        return right("last.ckpt is from step 1,250; steps 1,251 to 1,429 are repeated with the same result.")
    if given == 180:
        return wrong("Nearly: step 1,430 was not complete, so it is made only once.")
    if given == 0:
        return wrong("last.ckpt is written after each validation, not after each step.")
    return wrong("Find the step of last.ckpt, and count the steps that were completed after it.")
