"""What a saved result must hold to be one that `Result.save` wrote (see `ifsl.run.evaluation`)."""

from ..data.classes import FOLDS
from ..errors import InputError, is_int, is_number, shown
from ..tasks import AUGMENTS, TASKS
from .settings import BENCHMARKS

MAYBE_TEXT, MAYBE_NUMBER = (str, type(None)), (int, type(None))
SAVED = {
    **dict.fromkeys(("method", "backbone", "benchmark", "lists", "supervision", "void", "task", "compared_at"), (str,)),
    **dict.fromkeys(("fold", "way", "shot", "episodes"), (int,)),
    **dict.fromkeys(("augment", "objects", "objects_lists", "split", "data", "tiny"), MAYBE_TEXT),
    **dict.fromkeys(("checkpoint", "sha256"), MAYBE_TEXT),
    **dict.fromkeys(("size", "most_ways", "most_shots"), MAYBE_NUMBER),
    "trained": (dict, type(None)),
    "seen_classes": (list, type(None)),
}
"""Settings of a saved result, and their types; results of older versions lack those that may be None."""


def check_saved(result) -> None:
    """Raise `InputError` if a `Result` that was read from a file has a value that `Result.save` does not write."""
    check_saved_settings(result.settings, len(result.counts))
    ious, names, episodes = result.iou_per_class, result.class_names, len(result.counts)
    is_fss = result.settings["task"] == "fs-s"
    pairs = [pair for counts in result.counts for pair in counts.values()]
    right = {
        "er": result.er is None if is_fss else is_percent(result.er),
        "miou": is_percent(result.miou),
        "fb_iou": is_percent(result.fb_iou),
        "iou_per_class": len(ious) > 0 and all(map(is_percent, ious.values())),
        "class_names": set(ious) <= set(names) and all(isinstance(name, str) for name in names.values()),
        "counts": episodes > 0 and all(map(is_saved_pair, pairs)),
        "exact": len(result.exact) == (0 if is_fss else episodes) and set(result.exact) <= {True, False},
        "seconds": is_number(result.seconds),
        "versions": isinstance(result.versions, dict),
    }
    for name, is_right in right.items():
        if not is_right:
            raise InputError(f"its {name} is {shown(getattr(result, name))}")


def check_saved_settings(settings: dict, episodes: int) -> None:
    """Raise `InputError` for settings that say of what they are a result in another way than `evaluate`."""
    for name, kinds in SAVED.items():
        if type(settings.get(name)) not in kinds:
            raise InputError(f"its {name} is {shown(settings.get(name))}")
    allowed = {"benchmark": BENCHMARKS, "fold": range(FOLDS), "task": TASKS, "augment": (None, *AUGMENTS)}
    for name, values in (allowed | {"episodes": (episodes,)}).items():
        if settings.get(name) not in values:
            raise InputError(f"its {name} is {shown(settings.get(name))}")
    for name, part in (("augment", "most_ways"), ("augment", "most_shots"), ("objects", "objects_lists")):
        if settings.get(name) and settings.get(part) is None:
            raise InputError(f"it has no {part}")


def is_percent(value) -> bool:
    return is_number(value) and 0 <= value <= 100


def is_saved_pair(pair: tuple) -> bool:
    """Whether these are an intersection and a union in pixels."""
    return len(pair) == 2 and all(map(is_int, pair)) and 0 <= pair[0] <= pair[1] < 2**32
