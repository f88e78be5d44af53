"""The two tasks and EMAT's evaluation settings, and what they do not have (chapters 01 and 12).

Nothing here imports PyTorch.
"""

from .errors import InputError, is_int, shown

TASKS = {"fs-cs": "integrative few-shot classification and segmentation", "fs-s": "few-shot segmentation"}
"""Name of a task: what it is called. In FS-S, the older task, the query always shows the one class."""

AUGMENTS = {"partial": "partially augmented", "full": "fully augmented"}
"""Name of an augmented support set: what it is called. See `ifsl.data.augmented`."""

OBJECTS = ("0-5", "5-10", "10-15", "0-15")
"""The sizes of a query's object, in % of the picture: above the first number, up to the second."""


def check_task(task: str, way: int = 1, weak: bool = False, void_ignore: bool = False, own_size: bool = False) -> None:
    """Raise `InputError` for a task that does not exist, and for what a task does not have."""
    if not isinstance(task, str) or task not in TASKS:
        raise InputError(f"There is no task {shown(task)}; choose {' or '.join(TASKS)}.")
    if task == "fs-cs" and own_size:
        raise InputError("In FS-CS every query has its own size; leave out own_size, or choose the task fs-s.")
    if task == "fs-s" and way != 1:
        raise InputError(f"way is {shown(way)}; FS-S has one class in each episode, give 1, or choose the task fs-cs.")
    if task == "fs-s" and weak:
        raise InputError("FS-S needs the masks of the supports; leave out weak, or choose the task fs-cs.")
    if task == "fs-s" and void_ignore:
        raise InputError(
            "In FS-S void pixels are always left out of the metrics and never out of the loss; leave out void_ignore."
        )


def check_shot(shot: int) -> None:
    """Raise `InputError` for a number of shots that no class can have."""
    if not is_int(shot) or shot < 1:
        raise InputError(f"shot is {shown(shot)}; give a whole number from 1.")


def check_setting(
    augment: str | None, objects: str | None, way: int = 1, task: str = "fs-cs", weak: bool = False
) -> None:
    """Raise `InputError` for an evaluation setting that does not exist, and for combinations that make no sense.

    augment: a key of `AUGMENTS`, or None for supports as drawn. objects: one of `OBJECTS`, or None for all queries.
    """
    if augment is not None and (not isinstance(augment, str) or augment not in AUGMENTS):
        raise InputError(f"augment is {shown(augment)}; choose {' or '.join(AUGMENTS)}, or leave it out.")
    if objects is not None and (not isinstance(objects, str) or objects not in OBJECTS):
        raise InputError(f"objects is {shown(objects)}; choose {', '.join(OBJECTS)}, or leave it out.")
    if augment and objects:
        raise InputError("Object sizes are tested on supports as drawn; leave out augment or objects.")
    if augment and task == "fs-s":
        raise InputError("FS-S has one class in each episode, so nothing can augment it; leave out augment.")
    if augment and weak:
        raise InputError("Which classes a support shows is read from its mask; leave out weak or augment.")
    if augment == "partial" and way == 1:
        raise InputError(
            "A single way has no other that its supports could serve; give way 2 or more, or augment full."
        )
    if objects and way != 1:
        raise InputError(f"way is {shown(way)}; object sizes are tested with one way, the query's own class, give 1.")
