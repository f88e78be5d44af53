"""One table of many results: learners over folds, ways and shots, beside the published scores (chapter 12).

Letters: F folds that were tested.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

import numpy as np

from ..data.classes import COCO_NAMES, FOLDS, PASCAL_NAMES
from ..errors import InputError
from .evaluation import METRICS, Result
from .published import Score, find_published

RESAMPLES = 1000
GROUP = ("benchmark", "data", "task", "lists", "void", "supervision", "augment", "objects", "way", "shot")
"""Settings of a result on which a score depends: results that differ in one are not compared.

Nor are those over classes that the learner was trained on with others.
"""


def find_results(folder: str | Path) -> dict[Path, Result]:
    """All results below a folder by their files; other JSON files are passed over. Raises `InputError` for none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give the folder that holds the results, such as logs.")
    found = {}
    for path in sorted(folder.rglob("*.json")):
        if path.is_file() and '"counts"' in path.read_text(encoding="utf-8", errors="replace"):
            found[path] = Result.load(path)
    if not found:
        raise InputError(f"There is no result of an evaluation below {folder}; evaluate first, with --eval.")
    return found


class Row:
    """The results of one learner in one setting, by fold.

    run: the log folder's name; scores(metric): {fold: score in %}.
    """

    def __init__(self, run: str, results: dict[int, Result]):
        self.run, self.results = run, results
        self.settings = next(iter(results.values())).settings
        self.metrics = ("miou", "fb_iou") if self.settings["task"] == "fs-s" else ("er", "miou")

    def scores(self, metric: str) -> dict[int, float]:
        """Scores in % by fold."""
        return {fold: getattr(result, metric) for fold, result in self.results.items()}

    def mean(self, metric: str) -> tuple[float, float, float]:
        """Mean over the folds in %, and the ends of its 95 % interval: each fold's episodes are resampled."""
        source = np.random.default_rng(0)
        values = []
        for result in self.results.values():
            episodes = len(result.counts)
            times = source.multinomial(episodes, [1 / episodes] * episodes, RESAMPLES)
            values.append(result.resample(times)[metric])
        low, high = np.percentile(np.mean(values, axis=0), [2.5, 97.5])
        return float(np.mean(list(self.scores(metric).values()))), float(low), float(high)

    def is_real(self) -> bool:
        """Whether the classes are those of the real benchmark, and not of one in its layout."""
        names = next(iter(self.results.values())).class_names
        real = dict(enumerate(PASCAL_NAMES if self.settings["benchmark"] == "pascal" else COCO_NAMES, start=1))
        return all(name == real.get(c) for c, name in names.items())

    def published(self) -> Score | None:
        """The published score, if this is the published setting: real data and lists, all as drawn."""
        s = self.settings
        changed = any(s.get(name) for name in ("augment", "objects", "seen_classes"))
        if changed or not self.is_real() or s["lists"] != "as given":
            return None
        weak = s["supervision"] == "weak"
        return find_published(
            s["method"], s["backbone"], s["benchmark"], s["way"], s["shot"], task=s["task"], weak=weak
        )


def collect(results: dict[Path, Result]) -> list[Row]:
    """A row for each learner and setting, those of one setting together.

    results: of `find_results`. Two results of one learner, setting and fold get two rows, named by their folders.
    """
    groups: dict[tuple, dict[str, dict[int, Result]]] = defaultdict(lambda: defaultdict(dict))
    for path, result in results.items():
        s = result.settings
        setting = (*(str(s.get(name)) for name in GROUP), bool(s.get("seen_classes")))
        run = path.parent.name
        if s["fold"] in groups[setting][f"{run}/{s['backbone']}/{s['method']}"]:
            run = str(path)
        groups[setting][f"{run}/{s['backbone']}/{s['method']}"][s["fold"]] = result
    return [
        Row(key.rsplit("/", 2)[0], by_fold)
        for setting in sorted(groups)
        for key, by_fold in sorted(groups[setting].items())
    ]


HEADER = ("benchmark", "task", "way", "shot", "method", "backbone", "run", "metric")


def tabulate(rows: Iterable[Row]) -> list[list[str]]:
    """Cells of the table with its header: one line for each row and metric."""
    lines = [[*HEADER, *(f"fold {fold}" for fold in range(FOLDS)), "mean", "95 % interval", "folds", "published"]]
    for row in rows:
        s, published = row.settings, row.published()
        supervision = ", class tags" if s["supervision"] == "weak" else ""
        extras = [str(s[name]) for name in ("augment", "objects") if s.get(name)]
        extras += ["classes seen in training"] if s.get("seen_classes") else []
        data = s["benchmark"] if row.is_real() else f"{s['benchmark']}, other classes"
        task = ", ".join([s["task"].upper() + supervision, *extras])
        for at, metric in enumerate(row.metrics):
            scores, (mean, low, high) = row.scores(metric), row.mean(metric)
            lines.append(
                [data, task, str(s["way"]), str(s["shot"]), s["method"], s["backbone"], row.run, METRICS[metric]]
                + [f"{scores[fold]:.1f}" if fold in scores else "" for fold in range(FOLDS)]
                + [f"{mean:.1f}", f"{low:.1f} to {high:.1f}", str(len(scores))]
                + [f"{published[at]:.1f}" if published and len(scores) == FOLDS else ""]
            )
    return lines


def write_text(lines: list[list[str]]) -> str:
    """The table with its columns below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def write_markdown(lines: list[list[str]]) -> str:
    """The table in Markdown."""
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def write_csv(lines: list[list[str]]) -> str:
    """The table as comma-separated values."""
    text = StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().rstrip("\r\n")


FORMATS = {"text": write_text, "markdown": write_markdown, "csv": write_csv}
