"""The two tasks, and what they do not have (chapters 01 and 12). Nothing here imports PyTorch."""

from .errors import InputError, shown

TASKS = {"fs-cs": "integrative few-shot classification and segmentation", "fs-s": "few-shot segmentation"}
"""Name of a task: what it is called. In FS-S, the older task, the query always shows the one class."""


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
