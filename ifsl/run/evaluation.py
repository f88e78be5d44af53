"""Running a learner over the fixed test episodes: the figures, a table, files (chapter 12).

Every method sees the same 1,000 episodes. They are read in batches although queries differ in size: the learner's maps
are of one size, and each is brought to its own query's size at the end. So the figures depend on neither the batch size
nor the number of workers.
"""

import csv
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data.benchmarks import Benchmark
from ..data.episodes import TEST_EPISODES, TestEpisodes, loader
from ..errors import InputError, shown
from ..learners import Learner
from .metrics import ExactRatio, MeanIoU


@dataclass
class Result:
    """The figures of an evaluation, all in %.

    er: 0/1 exact ratio; miou: mean IoU over the split's classes; fb_iou: mean of foreground and background IoU;
    iou_per_class: {class id: IoU}; class_names: {class id: name}; exact: per episode, whether its presences were all
    right; counts: per episode, {class id: (intersection, union)} in pixels, the background under 0; settings: what was
    asked; seconds: how long it took; versions: of what it ran on.
    """

    er: float
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
        """{"er": (low, high), "miou": (low, high)} in %: a bootstrap over the episodes, the same on every call.

        Each resample draws as many episodes as there are, with replacement; the interval holds the middle `level` %.
        """
        times = np.random.default_rng(0).multinomial(
            len(self.exact), [1 / len(self.exact)] * len(self.exact), resamples
        )
        ids = list(self.iou_per_class)
        both = np.array([[episode.get(c, (0, 0)) for c in ids] for episode in self.counts])  # episodes x classes x 2
        summed = np.tensordot(times, both, 1)  # resamples x classes x 2
        miou = (100 * summed[..., 0] / np.maximum(summed[..., 1], 1)).mean(axis=1)
        er = 100 * (times @ np.array(self.exact)) / len(self.exact)
        ends = [(100 - level) / 2, (100 + level) / 2]
        return {"er": tuple(np.percentile(er, ends).tolist()), "miou": tuple(np.percentile(miou, ends).tolist())}

    def table(self) -> str:
        """The figures as lines of text, void pixels' part in them included."""
        names = {c: self.class_names[c] for c in self.iou_per_class}
        width = max(len("IoU per class"), *map(len, names.values()))
        title = "{method} · {benchmark} fold {fold} · {way}-way {shot}-shot · {episodes} episodes".format(
            **self.settings
        )
        lines = [title, f"{'void pixels':<{width}}  {self.settings['void']}"]
        if self.settings["lists"] != "as given":
            lines.append(f"{'lists':<{width}}  {self.settings['lists']}")
        for name, value, (low, high) in zip(
            ("ER", "mIoU"), (self.er, self.miou), self.intervals().values(), strict=True
        ):
            lines.append(f"{name:<{width}}  {value:6.2f} %  (95 % of resampled episode sets: {low:.1f} to {high:.1f})")
        if self.settings["always_present"]:
            lines.append(f"{'FB-IoU':<{width}}  {self.fb_iou:6.2f} %")
        lines.append("IoU per class")
        lines += [f"{name:<{width}}  {self.iou_per_class[c]:6.2f} %" for c, name in names.items()]
        return "\n".join(lines)

    def save(self, folder: str | Path, name: str = "result") -> list[Path]:
        """Write `<name>.json` (everything) and `<name>.csv` (a row per figure) into `folder`; return their paths.

        Each file appears whole or stays as it was. Raises `InputError` where they cannot be written.
        """
        paths = [Path(folder) / f"{name}.json", Path(folder) / f"{name}.csv"]
        rows = [
            ("figure", "class", "percent"),
            ("ER", "", self.er),
            ("mIoU", "", self.miou),
            ("FB-IoU", "", self.fb_iou),
        ]
        rows += [("IoU", self.class_names[c], iou) for c, iou in self.iou_per_class.items()]
        table = StringIO(newline="")
        csv.writer(table).writerows(rows)
        replace_text(paths[0], json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        replace_text(paths[1], table.getvalue())
        return paths

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """What `save` wrote as `<name>.json`. Raises `InputError` for a file that is missing or no such result."""
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
            for name in ("iou_per_class", "class_names"):
                fields[name] = {int(c): value for c, value in fields[name].items()}  # in JSON all keys are texts
            fields["counts"] = [{int(c): tuple(pair) for c, pair in counts.items()} for counts in fields["counts"]]
            return cls(**fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{path} holds no result of an evaluation ({error}); evaluate again.") from error


def replace_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it: whoever looks sees the old one whole or the new one whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written ({error.strerror}); make room or choose another folder.") from error


@torch.inference_mode()
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
    always_present: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Result:
    """The figures of `model` over the first `episodes` test episodes of `bench`.

    batch: episodes at a time; workers: processes that read ahead; size: image side in pixels, by default the model's
    own; weak: give no masks to the learner; void_ignore: leave void pixels out of mIoU instead of counting them as
    background (as published); always_present: conventional few-shot segmentation, the query's class is always among the
    ways; device: where to run, by default a GPU if there is one; progress: show a bar with the running figures.

    The result depends on none of batch, workers and progress. Raises `InputError` for what cannot be drawn or read.
    """
    started = time.perf_counter()
    for name, given, kind in (("model", model, Learner), ("bench", bench, Benchmark)):
        if not isinstance(given, kind):
            raise InputError(f"{name} is a {type(given).__name__}; give a {kind.__name__}.")
    try:
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise InputError(f"There is no device {shown(device)}; give cpu, cuda or cuda:0.") from error
    size = model.image_size if size is None else size
    if weak and model.needs_masks:
        raise InputError(model.needs_masks)
    bench.check_layout()
    data = TestEpisodes(bench, way, shot, episodes, size, void_ignore, always_present)
    er, miou = ExactRatio(way).to(device), MeanIoU(bench.class_ids).to(device)
    exact, counts = [], []
    training, home = model.training, next(model.parameters()).device
    model.to(device).eval()
    bar = tqdm(total=episodes, unit="episode", desc=f"{way}-way {shot}-shot", disable=not progress)
    try:
        for found in predictions(model, loader(data, batch, workers), device, weak):
            true_presence, true_masks = found["presence"].to(device), [m.to(device) for m in found["query_masks"]]
            er.update(found["found_presence"], true_presence)
            for guess, truth, ways in zip(found["found_masks"], true_masks, found["classes"].to(device), strict=True):
                before = torch.stack([miou.intersection, miou.union])
                miou.update([guess], [truth], ways[None])
                inter, union = (torch.stack([miou.intersection, miou.union]) - before).tolist()
                counts.append({c: (inter[c], union[c]) for c in [0, *ways.tolist()]})
            exact += (found["found_presence"] == true_presence).all(dim=1).tolist()
            bar.update(len(true_masks))
            bar.set_postfix(ER=f"{er.compute().item():.1f}", mIoU=f"{miou.compute().item():.1f}")
    finally:
        bar.close()
        model.to(home).train(training)
    return Result(
        er=er.compute().item(),
        miou=miou.compute().item(),
        fb_iou=miou.foreground_background(),
        iou_per_class=miou.iou_per_class(),
        class_names=bench.class_names,
        exact=exact,
        counts=counts,
        settings={
            "method": model.method,
            "backbone": model.backbone_name,
            "benchmark": bench.name,
            "fold": bench.fold,
            "split": bench.split,
            "lists": bench.source,
            "way": way,
            "shot": shot,
            "episodes": episodes,
            "size": size,
            "supervision": "weak" if weak else "strong",
            "void": "left out" if void_ignore else "background, as published",
            "always_present": always_present,
            "device": str(device),
        },
        seconds=round(time.perf_counter() - started, 2),
        versions={"python": platform.python_version(), "torch": torch.__version__},
    )


@torch.inference_mode()
def predictions(model: Learner, batches, device: torch.device, weak: bool = False) -> Iterator[dict]:
    """Each batch of a `loader`, with what the model finds in it.

    Adds found_presence (B, N) bool and found_masks, a list of B (H, W) uint8 at the queries' own sizes.
    """
    for batch in batches:
        query, supports = batch["query"].to(device), batch["supports"].to(device)
        masks = None if weak else batch["masks"].to(device)
        presence, found_masks = model.predict(query, supports, masks, batch["sizes"])
        yield batch | {"found_presence": presence, "found_masks": found_masks}
