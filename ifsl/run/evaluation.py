"""Running a learner over the fixed test episodes: metrics, a table, files (chapter 12).

Every learner gets the same 1,000 episodes. They are read in batches although queries differ in size: the learner's maps
have one size, and each is resized to its own query at the end. So the result depends on neither the batch size nor the
number of workers.
"""

import csv
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data.benchmarks import Benchmark
from ..data.classes import FOLDS, fold_classes
from ..data.files import write_whole
from ..data.lists import STAMP
from ..data.loading import TEST_EPISODES, TestEpisodes, loader
from ..errors import InputError, count, is_int, is_number, shown, writing
from ..learners.learner import Learner, check_episode
from ..tasks import AUGMENTS, check_setting, check_task
from .devices import find_device, memory_errors
from .metrics import ExactRatio, MeanIoU
from .saved_results import check_saved

METRICS = {"er": "ER", "miou": "mIoU", "fb_iou": "FB-IoU"}
"""Field of a `Result`: what the metric is called."""

SAME_EPISODES = (
    *("benchmark", "fold", "split", "lists", "way", "shot", "episodes", "void", "task", "compared_at"),
    *("augment", "objects", "tiny"),
)
"""Settings that two results must share to be over the same episodes, as far as both have them."""

TRAINED = ("benchmark", "fold", "step", "history", "seed", "task", "weak", "lists")
"""What a result says of the training of the learner, if its checkpoint tells it."""


@dataclass
class Result:
    """The result of an evaluation; metrics are in %.

    er: 0/1 exact ratio, None in FS-S, which does not ask for presence; miou: mean IoU over the split's classes; fb_iou:
    mean of foreground and background IoU; iou_per_class: {class id: IoU}; class_names: {class id: name}; exact: for
    each episode, whether all its presences were predicted correctly, empty in FS-S; counts: for each episode, {class
    id: (intersection, union)} in pixels, the background under 0; settings: what was evaluated, on what (checkpoint, its
    checksum sha256 and trained, what it tells about its training, are None for a learner that was just built); seconds:
    how long it took; versions: of Python, PyTorch and this package.
    """

    er: float | None
    miou: float
    fb_iou: float
    iou_per_class: dict[int, float]
    class_names: dict[int, str]
    exact: list[bool] = field(repr=False)
    counts: list[dict[int, tuple[int, int]]] = field(repr=False)
    settings: dict
    seconds: float
    versions: dict

    def intervals(self, resamples: int = 1000, level: float = 95) -> dict[str, tuple[float, float]]:
        """{"er": (low, high), "miou": (low, high)} in %, in FS-S "miou" and "fb_iou": a bootstrap over the episodes.

        Each resample takes as many episodes as there are, with replacement; the interval has the middle `level` %. It
        is the same in every call. Raises `InputError` for less than one resample and a level outside 0 to 100.
        """
        if not is_number(level) or not 0 < level <= 100:
            raise InputError(f"level is {shown(level)}; give a number above 0 and up to 100, such as 95.")
        ends = [(100 - level) / 2, (100 + level) / 2]
        resampled = self.resample(self.draw_again(resamples))
        return {name: tuple(np.percentile(values, ends).tolist()) for name, values in resampled.items()}

    def draw_again(self, resamples: int) -> np.ndarray:
        """How often each episode counts in each resample, (resamples, episodes); the same in every call."""
        if not is_int(resamples) or resamples < 1:
            raise InputError(f"resamples is {shown(resamples)}; give a whole number from 1.")
        episodes = len(self.counts)
        return np.random.default_rng(0).multinomial(episodes, [1 / episodes] * episodes, resamples)

    def scores(self) -> dict[str, tuple[float, float, float]]:
        """{"ER": (value, low, high), "mIoU": (value, low, high)} in %, with the ends of `intervals`; no ER in FS-S."""
        return {METRICS[name]: (getattr(self, name), *ends) for name, ends in self.intervals().items()}

    def resample(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """The two metrics in % where episode e counts `times[r, e]` times: (resamples, episodes) to (resamples,) each.

        They are "er" and "miou", in FS-S "miou" and "fb_iou".
        """
        ids = list(self.iou_per_class)
        pixels = np.array([[counts.get(c, (0, 0)) for c in [0, *ids]] for counts in self.counts])  # episodes, ids, 2
        inside, union = np.moveaxis(np.tensordot(times, pixels, 1), -1, 0)  # resamples, ids
        miou = (100 * inside[:, 1:] / np.maximum(union[:, 1:], 1)).mean(axis=1)
        if self.settings["task"] == "fs-s":
            fore, back = (
                inside[:, 1:].sum(axis=1) / union[:, 1:].sum(axis=1).clip(1),
                inside[:, 0] / union[:, 0].clip(1),
            )
            return {"miou": miou, "fb_iou": 50 * (fore + back)}
        return {"er": 100 * (times @ np.array(self.exact)) / times.sum(axis=1), "miou": miou}

    def difference(self, other: "Result", resamples: int = 1000) -> dict[str, tuple[float, float, float]]:
        """How far this result is ahead of another, in points: {"ER", "mIoU": (difference, low, high)}.

        low and high enclose 95 % of the differences when the episodes are drawn again with replacement, the same for
        both (the paired bootstrap of chapter 12). Raises `InputError` for results over different episodes.
        """
        if not isinstance(other, Result):
            raise InputError(f"other is a {type(other).__name__}; give the result of another evaluation.")
        for name in SAME_EPISODES:
            one, two = self.settings.get(name), other.settings.get(name)
            both_say = (name in self.settings) == (name in other.settings)
            if one != two and (both_say or name == "tiny"):  # without a version it may be any
                raise InputError(
                    f"The results are over other episodes ({name} is {shown(one)} and {shown(two)}); "
                    "evaluate both learners on the same ones."
                )
        asked = [[list(counts) for counts in result.counts] for result in (self, other)]
        if self.class_names != other.class_names or asked[0] != asked[1]:
            raise InputError(
                "The results are over other episodes (their classes differ); evaluate both learners on the same ones."
            )
        episodes, times = len(self.counts), self.draw_again(resamples)
        as_they_are = self.resample(np.ones((1, episodes), int)), other.resample(np.ones((1, episodes), int))
        resampled = self.resample(times), other.resample(times)
        differences = {}
        for metric in resampled[0]:
            ((value,), values) = (one[metric] - two[metric] for one, two in (as_they_are, resampled))
            differences[METRICS[metric]] = (float(value), *np.percentile(values, [2.5, 97.5]).tolist())
        return differences

    def table(self) -> str:
        """The metrics as lines of text, with a line on how void pixels were counted."""
        names = {c: self.class_names[c] for c in self.iou_per_class}
        width = max(len("IoU per class"), *map(len, names.values()))
        title = "{method} · {benchmark} fold {fold} · {way}-way {shot}-shot · {count}".format(
            **self.settings, count=count(len(self.counts), "episode")
        )
        lines = [title]
        if self.settings["task"] == "fs-s":
            lines += [f"{'task':<{width}}  FS-S, masks compared at {self.settings['compared_at']}"]
        lines += [f"{'learner':<{width}}  {line}" for line in describe_learner(self.settings)]
        lines += [f"{'supervision':<{width}}  {describe_supervision(self.settings)}"]
        lines += [f"{'void pixels':<{width}}  {self.settings['void']}"]
        if self.settings.get("augment"):
            sizes = "up to {most_ways} ways and {most_shots} shots".format(**self.settings)
            lines.append(f"{'support sets':<{width}}  {AUGMENTS[self.settings['augment']]}, {sizes}")
        if self.settings.get("objects"):
            lines.append(f"{'objects':<{width}}  {self.settings['objects']} % of the query")
            lines.append(f"{'their lists':<{width}}  {self.settings['objects_lists']}")
        if self.settings["lists"] != "as given":
            lines.append(f"{'lists':<{width}}  {self.settings['lists']}")
        for name, (value, low, high) in self.scores().items():
            lines.append(f"{name:<{width}}  {value:6.2f} %  (95 % of resampled episode sets: {low:.1f} to {high:.1f})")
        lines.append("IoU per class")
        lines += [f"{name:<{width}}  {self.iou_per_class[c]:6.2f} %" for c, name in names.items()]
        return "\n".join(lines)

    def save(self, folder: str | Path, name: str = "result") -> list[Path]:
        """Write `<name>.json` (everything) and `<name>.csv` (a row for each metric) into `folder`; return their paths.

        Each file is replaced whole or not at all. Raises `InputError` if they cannot be written.
        """
        paths = [Path(folder) / f"{name}.json", Path(folder) / f"{name}.csv"]
        rows = [("metric", "class", "percent")]
        rows += [(label, "", getattr(self, name)) for name, label in METRICS.items() if getattr(self, name) is not None]
        rows += [("IoU", self.class_names[c], iou) for c, iou in self.iou_per_class.items()]
        table = StringIO(newline="")
        csv.writer(table).writerows(rows)
        contents = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", table.getvalue()
        for path, content in zip(paths, contents, strict=True):
            with writing(path, "make room or choose another folder"):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, content)
        return paths

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read the `<name>.json` that `save` wrote, this or an older version of it.

        Raises `InputError` if the file is missing or holds something else.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
            for name in ("iou_per_class", "class_names"):
                fields[name] = {int(c): value for c, value in fields[name].items()}  # JSON's keys are strings
            fields["counts"] = [{int(c): tuple(pair) for c, pair in counts.items()} for counts in fields["counts"]]
            result = cls(**fields)
            check_saved(result)
            return result
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} holds no result of an evaluation ({error}); evaluate again.") from error


def evaluate(
    model: Learner,
    bench: Benchmark,
    way: int = 1,
    shot: int = 1,
    episodes: int = TEST_EPISODES,
    *,
    batch: int = 8,
    workers: int | None = None,
    size: int | None = None,
    weak: bool = False,
    void_ignore: bool = False,
    task: str = "fs-cs",
    own_size: bool = False,
    augment: str | None = None,
    objects: str | None = None,
    seen_classes: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Result:
    """Evaluate `model` on the first `episodes` test episodes of `bench`.

    batch: episodes at a time; workers: processes that read ahead; size: image side in pixels, by default the model's
    own; weak: give no masks to the learner; void_ignore: leave void pixels out of mIoU instead of counting them as
    background (as published); task: "fs-cs", or "fs-s", conventional few-shot segmentation (one way, no ER, void pixels
    of Pascal always left out, masks compared at `size`); own_size: in FS-S, compare masks at each query's own size;
    augment: "partial" or "full", to let supports serve other classes that they show too, so that episodes differ in
    ways and shots, and ER asks for the presence of the added ways too; objects: "0-5", "5-10", "10-15" or "0-15", to
    test only queries whose object covers so many % of the picture (see `Benchmark.draw` for both), of which there may
    be fewer than `episodes`, and none of some classes, whose IoU then counts as 0; seen_classes: allow a test on
    classes that the learner's checkpoint was trained on; device: where to run, by default a GPU if there is one;
    progress: show a bar with the metrics so far.

    The result does not depend on batch, workers or progress. Raises `InputError` for what cannot be drawn or read.
    """
    device = find_device(device)
    data = draw_test_episodes(
        model,
        bench,
        way,
        shot,
        episodes,
        size=size,
        weak=weak,
        void_ignore=void_ignore,
        task=task,
        own_size=own_size,
        augment=augment,
        objects=objects,
        seen_classes=seen_classes,
    )
    return evaluate_episodes(model, data, batch=batch, workers=workers, weak=weak, device=device, progress=progress)


def draw_test_episodes(
    model: Learner,
    bench: Benchmark,
    way: int = 1,
    shot: int = 1,
    episodes: int = TEST_EPISODES,
    *,
    size: int | None = None,
    weak: bool = False,
    void_ignore: bool = False,
    task: str = "fs-cs",
    own_size: bool = False,
    augment: str | None = None,
    objects: str | None = None,
    seen_classes: bool = False,
) -> TestEpisodes:
    """The episodes that `evaluate` tests on; it has the same arguments.

    Raises `InputError` for what cannot be drawn, or is not what this learner can be tested on.
    """
    for name, given, kind in (("model", model, Learner), ("bench", bench, Benchmark)):
        if not isinstance(given, kind):
            raise InputError(f"{name} is a {type(given).__name__}; give a {kind.__name__}.")
    if weak and model.needs_masks:
        raise InputError(model.needs_masks)
    check_task(task, way, weak, void_ignore, own_size)
    check_setting(augment, objects, way, task, weak)
    find_seen_classes(model, bench, seen_classes)
    bench.check_layout()
    size = model.image_size if size is None else size
    return TestEpisodes(bench, way, shot, episodes, size, void_ignore, task, own_size, augment, objects)


@torch.inference_mode()
def evaluate_episodes(
    model: Learner,
    data: TestEpisodes,
    *,
    batch: int = 8,
    workers: int | None = None,
    weak: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Result:
    """Evaluate `model` on episodes that `draw_test_episodes` has drawn; see `evaluate` for the arguments."""
    started = time.perf_counter()
    device, bench, task = find_device(device), data.bench, data.task
    er, miou = ExactRatio(None if data.augment else data.way).to(device), MeanIoU(bench.class_ids).to(device)
    training, home = model.training, next(model.parameters()).device
    batches = predictions(model, loader(data, batch, workers, augmented=bool(data.augment)), device, weak, task)
    bar = tqdm(total=len(data), unit="episode", desc=f"{data.way}-way {data.shot}-shot", disable=not progress)
    try:
        with memory_errors("testing", batch=batch, size=data.size, shot=data.shot):
            model.to(device).eval()
            exact, counted = measure(batches, er, miou, task, bar)
    finally:
        bar.close()
        model.to(home).train(training)
    counts = [
        {c: (intersection[c], union[c]) for c in [0, *drawn.classes]}
        for drawn, (intersection, union) in zip(data.draws, counted, strict=True)
    ]
    return Result(
        er=er.compute().item() if task == "fs-cs" else None,
        miou=miou.compute().item(),
        fb_iou=miou.foreground_background(),
        iou_per_class=miou.iou_per_class(),
        class_names=bench.class_names,
        exact=exact,
        counts=counts,
        settings={
            "method": model.method,
            "backbone": model.backbone_name,
            "supervision": "weak" if weak else "strong",
            **describe_episodes(data),
            **trace_training(model),
            "seen_classes": [bench.class_names[c] for c in find_seen_classes(model, bench, allowed=True)],
            "device": str(device),
        },
        seconds=round(time.perf_counter() - started, 2),
        versions={"python": platform.python_version(), "torch": torch.__version__, "ifsl": version("ifsl")},
    )


def measure(
    batches: Iterable[dict], er: ExactRatio, miou: MeanIoU, task: str, bar: tqdm
) -> tuple[list[bool], list[list[list[int]]]]:
    """Update both metrics, and the bar, with batches of `predictions`.

    Returns for each episode whether all its presences are right (nothing in FS-S), and its intersections and unions in
    pixels: (episodes, 2, classes).
    """
    exact, totals = [], [torch.stack([miou.intersection, miou.union])]  # after each episode: 2, classes
    device = miou.union.device
    for found in batches:
        if task == "fs-cs":
            true_presence = found["presence"].to(device)
            er.update(found["found_presence"], true_presence)
            exact += (found["found_presence"] == true_presence).all(dim=1).tolist()
        for guess, truth, ways in zip(found["found_masks"], found["query_masks"], found["classes"], strict=True):
            miou.update([guess], [truth.to(device)], ways[None])
            totals.append(torch.stack([miou.intersection, miou.union]))
        bar.update(len(found["classes"]))
        shown_er = {"ER": f"{er.compute().item():.1f}"} if task == "fs-cs" else {}
        bar.set_postfix(shown_er | {"mIoU": f"{miou.compute().item():.1f}"})
    return exact, torch.stack(totals).diff(dim=0).tolist()


@torch.inference_mode()
def predictions(
    model: Learner, batches: Iterable[dict], device: torch.device, weak: bool = False, task: str = "fs-cs"
) -> Iterator[dict[str, object]]:
    """Each batch of a `loader`, with what the model predicts for it.

    Adds found_presence (B, N) bool and found_masks, a list of B (H, W) uint8 of the query masks' sizes. The values of
    the first batch are checked: raises `InputError` for an episode that does not fit the learner.
    """
    for number, batch in enumerate(batches):
        query, supports = batch["query"].to(device), batch["supports"].to(device)
        masks = None if weak else batch["masks"].to(device)
        if number == 0:
            check_episode(model, query, supports, masks)
        maps = model.maps(query, supports, masks)
        if maps.log_prob.isnan().any():
            raise InputError(
                f"The maps of {model.method} hold NaN, first in the batch of episode {batch['draws'][0].index}; take a "
                "checkpoint from before its training went wrong, or precision 32."
            )
        presence, segmentations = model.decide(maps, batch["sizes"], task)
        yield batch | {"found_presence": presence, "found_masks": segmentations}


def describe_episodes(data: TestEpisodes) -> dict:
    """What a result says of its episodes: where they are from, how they were drawn, and how masks are compared."""
    bench, size = data.bench, data.size
    return {
        "benchmark": bench.name,
        "fold": bench.fold,
        "split": bench.split,
        "lists": bench.source,
        "way": data.way,
        "shot": data.shot,
        "episodes": len(data),
        "size": size,
        "void": describe_void(bench.name, data.task, data.void_ignore),
        "task": data.task,
        "compared_at": "own size" if data.task == "fs-cs" or data.own_size else f"{size} x {size}",
        "augment": data.augment,
        "most_ways": max(len(drawn.classes) for drawn in data.draws),
        "most_shots": max(len(drawn.support[0]) for drawn in data.draws),
        "objects": data.objects,
        "objects_lists": bench.queries_source(data.objects) if data.objects else None,
        "data": str(bench.root),
        "tiny": read_stamp(bench.root),
    }


def read_stamp(root: Path) -> str | None:
    """What a tiny benchmark says of itself: version, seed and sizes, from which it was made; None for other data."""
    try:
        return (root / STAMP).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def trace_training(model: Learner) -> dict:
    """Which checkpoint a learner is from (checkpoint, sha256), and what that tells about its training (trained)."""
    trained = {name: model.settings[name] for name in TRAINED if name in model.settings}
    return {name: model.settings.get(name) for name in ("checkpoint", "sha256")} | {"trained": trained or None}


def find_seen_classes(model: Learner, bench: Benchmark, allowed: bool) -> list[int]:
    """The classes of the benchmark's split that the learner was trained on, as far as its checkpoint tells.

    Raises `InputError` if there are any that are not allowed.
    """
    trained = model.settings
    if trained.get("benchmark") != bench.name or trained.get("fold") not in range(FOLDS):
        return []
    seen = sorted(set(fold_classes(bench.name, trained["fold"], "trn")) & set(bench.class_ids))
    if seen and not allowed:
        raise InputError(
            f"This {model.method} was trained on fold {trained['fold']}, whose training classes include "
            f"{bench.class_names[seen[0]]}; evaluate it on that fold, or allow it (--seen-classes, in Python "
            "seen_classes=True)."
        )
    return seen


def describe_learner(settings: dict) -> list[str]:
    """Where the learner of a result is from, and what it was trained on, line by line."""
    if settings.get("checkpoint") is None:
        return ["just built, not trained"] if "checkpoint" in settings else []
    trained = settings.get("trained") or {}
    facts = [f"{name} {trained[name]}" for name in ("benchmark", "fold", "seed") if trained.get(name) is not None]
    if steps := trained.get("history") or trained.get("step"):
        facts.append(f"steps: {steps}")
    lines = [f"{shorten(settings['checkpoint'])} (sha256 {(settings.get('sha256') or 'unknown')[:12]}…)"]
    lines += [f"trained: {', '.join(facts)}"] if facts else ["its file does not tell what it was trained on"]
    if settings.get("seen_classes"):
        lines.append(
            f"SEEN IN TRAINING: {', '.join(map(str, settings['seen_classes']))}; no measure of few-shot learning"
        )
    return lines


def describe_supervision(settings: dict) -> str:
    """What the learner of a result was given, and whether that differs from its training."""
    weak = settings["supervision"] == "weak"
    given = "weak, from class tags alone" if weak else "strong, with masks"
    trained = (settings.get("trained") or {}).get("weak", weak)
    return given if trained == weak else f"{given}; trained {'with masks' if weak else 'from class tags alone'}"


def shorten(path: str) -> str:
    """A path from the working folder, if that is shorter and on the same drive; else as it is."""
    try:
        return min(str(path), os.path.relpath(path), key=len)
    except ValueError:  # Windows: another drive
        return str(path)


def describe_void(benchmark: str, task: str, void_ignore: bool) -> str:
    """What becomes of void pixels in the metrics."""
    published = task == "fs-s" and benchmark == "pascal"
    if void_ignore or published:
        return "left out, as published" if published else "left out"
    return "background, as published"
