"""Exercises of chapter 11, training on a GPU."""

from ..exercises import Verdict, exercise, right, to_number, to_whole_number, wrong


@exercise(
    "11.1",
    hints=["Compute both times, FLOPs / peak and bytes / bandwidth. Which one counts?"],
    solution="Arithmetic: 2 · 10⁹ / 8.1 · 10¹² s = 0.25 ms. Memory: 0.16 · 10⁹ / 320 · 10⁹ s = 0.5 ms. The longer one "
    "counts: 0.5 ms. Memory is the limit; in 16 bits the operation would take half as long, however fast the "
    "arithmetic.",
)
def check_roofline(answer: object) -> Verdict:
    given = to_number(answer)
    if abs(given - 0.5) < 0.005:
        return right("Moving the bytes takes 0.5 ms, computing 0.25 ms, so memory is the limit.")
    if abs(given - 0.5e-3) < 5e-6:
        return wrong("These are seconds; the question asks for milliseconds.")
    if abs(given - 2 / 8.1) < 0.005:
        return wrong("This is the time of the arithmetic. Moving the bytes takes longer.")
    if abs(given - (0.5 + 2 / 8.1)) < 0.005:
        return wrong("This is the sum. At best, computing and moving overlap, so the longer one counts.")
    return wrong("Compute FLOPs / peak and bytes / bandwidth, both in milliseconds, and take the longer one.")


@exercise(
    "11.2",
    hints=["How many milliseconds of reading does one step need?"],
    solution="A step uses 12 · 40 = 480 ms of reading and lasts 150 ms. 480 / 150 = 3.2, so you need four workers.",
)
def check_workers(answer: object) -> Verdict:
    given = to_whole_number(answer)
    if given == 4:
        return right("A step of 150 ms uses 12 · 40 = 480 ms of reading, the time of 3.2 workers.")
    if given == 3:
        return wrong("Three workers deliver a batch in 160 ms, so the GPU waits 10 ms in each step.")
    if given == 1:
        return wrong("40 ms are for one episode, and a step needs twelve.")
    return wrong(f"{given} is too {'many' if given > 4 else 'few'}. How much reading does one step need?")


@exercise(
    "11.3",
    hints=["How many processes are there, and how many episodes does a step have in COCO's recipe?"],
    solution="COCO's recipe has 24 episodes in a step. There are 2 · 4 = 8 processes, so `--bsz 3`.",
)
def check_batch(answer: object) -> Verdict:
    given = to_whole_number(answer)
    if given == 3:
        return right("Eight processes with three episodes each make 24.")
    if given == 6:
        return wrong("There is one process for each GPU on both machines, so eight.")
    if given == 12:
        return wrong("bsz is the batch of each process. With 12, a step would have 96 episodes.")
    if given == 24:
        return wrong("bsz is the batch of each process. With 24, a step would have 192 episodes.")
    return wrong("Divide the episodes of a step in COCO's recipe by the number of processes.")
