"""Make the kept checkpoints of the tiny benchmark, their curves and their results.

    python ci/checkpoints.py                what is missing of all of them, one after another
    python ci/checkpoints.py asnet          what is missing of this one
    python ci/checkpoints.py --again asnet  this one again: what is kept of it and its log folders are deleted first
    python ci/checkpoints.py baselines      the results of the baselines
    python ci/checkpoints.py matcher        the results of the matcher without training, and what it was chosen from
    python ci/checkpoints.py --table        the table of what is kept, as the README has it

What is there already is not made again; a result of another learner's file than the one that is kept counts as missing.
An interrupted run goes on where it was if it is given once more, without --again.

data/checkpoints/tiny keeps of each run the learner (<name>.safetensors), its curve (<name>-curve.csv), and its results
on 500 test episodes, trained and untrained (<name>.json and .csv, <name>-untrained.json and .csv). What is kept is the
last step of a rate that falls to 0: no test episode decides anything. Validation, on the test classes, only draws the
curve. All paths are those of the repository, from wherever this is called.

On the benchmark itself a learner that compares correlations takes hundreds of steps to leave the reply "background".
Therefore such a run begins on the easy version, where a class has one look. Some go on for further rounds, each with
other episodes, at a rate that is high again and falls to 0 once more.
"""

import argparse
import json
import shutil
import sys
from contextlib import chdir
from functools import partial
from pathlib import Path

from ifsl.errors import InputError
from ifsl.run.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
KEPT = Path("data/checkpoints/tiny")
"""In ROOT, where `main` works: results keep paths as they are seen from there."""
EPISODES = 500
BASELINES = (
    *("nothing-there", "always-there", "colour-histogram"),
    *("untrained-layer2", "untrained-layer3", "untrained-layer4"),
)
MATCHERS = {"training-free": True, "training-free-no-null": False}
"""The matcher without training, and whether it has a null match."""
CHOICES = "training-free-choices.json"
"""All choices of the matcher that were tried."""
TINY = {
    "backbone": "efficientnet_lite0",
    "bsz": 8,
    "decay": True,
    "val_every": 150,
    "val_episodes": 100,
    "workers": 1,
    "nowandb": True,
    "cache_features": True,
}
EASY = {"datapath": "data/tiny-easy", "steps": 250, "val_every": 125}
"""Settings of the first part of a run that begins on the easy version."""
RUNS = {
    "panet": {"steps": 300, "cache_features": False, "frozen_norm": True},
    "pfenet": {"steps": 4000, "width": 64, "lr": 0.1},
    "asnet": {"steps": 1200, "easy": EASY, "again": {"steps": 1200, "seed": 1}, "third": {"steps": 1200, "seed": 2}},
    "hsnet": {"steps": 700, "easy": EASY, "again": {"steps": 1200, "seed": 1}},
    "asnethm": {"steps": 700, "easy": EASY, "again": {"steps": 1200, "seed": 1}},
    "cst": {"steps": 1000, "easy": EASY},
    "emat": {"steps": 1000, "easy": EASY},
    "asnet-weak": {"steps": 1000, "lr": 3e-4, "easy": EASY | {"steps": 400, "val_every": 200}},
}
"""Name of a run: its settings besides `TINY`, and what differs in the part before and in those after.

The method is the name without `-weak`.
"""


def settings_of(name: str) -> list[Settings]:
    """The settings of a kept run, part by part; logged in `logs/pascal/fold0/efficientnet_lite0/kept-<name>`."""
    method, weak = name.removesuffix("-weak"), name.endswith("-weak")
    own = TINY | RUNS[name]
    other = {part: own.pop(part, None) for part in ("easy", "again", "third")}
    changes = {"-easy": other["easy"], "": {}, "-again": other["again"], "-third": other["third"]}
    parts, start = [], None
    for part, change in changes.items():
        if change is not None:
            parts.append(Settings(method=method, weak=weak, logpath=f"kept-{name}{part}", start=start, **own | change))
            start = str(parts[-1].folder / "last.ckpt")
    return parts


def make(name: str) -> None:
    """Train, keep and test one learner; skip what is done already."""
    from ifsl.run.checkpoints import load_model, save_learner
    from ifsl.run.training import train
    from ifsl.tiny import ensure_tiny

    parts = settings_of(name)
    kept = KEPT / f"{name}.safetensors"
    ensure_tiny(parts[-1].datapath)
    if not kept.is_file():
        for settings in parts:
            ensure_tiny(settings.datapath, easy=settings.datapath == EASY["datapath"])
            if not is_finished(settings):
                train(settings, resume=(settings.folder / "last.ckpt").is_file())
        trained = load_model(settings.folder / "last.ckpt")
        save_learner(trained, kept, **settings.plain(), history=describe_parts(parts))
        save_curve([part for part in parts if part.datapath != EASY["datapath"]], KEPT / f"{name}-curve.csv")
    test(load_model(kept), parts[-1], name)
    test(untrained(parts[0]), parts[-1], f"{name}-untrained")


def files_of(name: str) -> list[str]:
    """The files that are kept of a run, of the baselines or of the matcher."""
    results, more = {"baselines": (BASELINES, []), "matcher": (MATCHERS, [CHOICES])}.get(
        name, ((name, f"{name}-untrained"), [f"{name}.safetensors", f"{name}-curve.csv"])
    )
    return [*more, *(f"{result}.{end}" for result in results for end in ("json", "csv"))]


def remove(name: str) -> None:
    """Delete what is kept under a name, and the log folders that it was made in."""
    for file in files_of(name):
        (KEPT / file).unlink(missing_ok=True)
    for settings in settings_of(name) if name in RUNS else []:
        if settings.folder.is_dir():
            shutil.rmtree(settings.folder)


def describe_parts(parts: list[Settings]) -> str:
    """The steps of the parts of a run, in words: "250 on the easy version, then 1200, then 1200"."""
    easy = EASY["datapath"]
    return ", then ".join(f"{part.steps}" + (" on the easy version" if part.datapath == easy else "") for part in parts)


def save_curve(parts: list[Settings], path: Path) -> None:
    """Join the curves of the parts of a run, with the steps counted on."""
    lines, before = [], 0
    for part in parts:
        head, *rows = (part.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
        for step, rest in (row.split(",", 1) for row in rows):
            lines.append(f"{before + int(step)},{rest}")
        before += part.steps
    path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")


def is_finished(settings: Settings) -> bool:
    """Whether the run has made all its steps."""
    from ifsl.run.resuming import read_checkpoint

    last = settings.folder / "last.ckpt"
    return last.is_file() and read_checkpoint(last)["global_step"] == settings.steps


def make_baselines() -> None:
    """Test the baselines, with thresholds chosen on training classes; skip what is done already."""
    from ifsl.data.benchmarks import Benchmark
    from ifsl.run.baselines import build_baselines
    from ifsl.tiny import ensure_tiny

    settings = Settings(**TINY)
    ensure_tiny(settings.datapath)
    if not all((KEPT / f"{name}.json").is_file() for name in BASELINES):
        trn = Benchmark(settings.benchmark, settings.datapath, settings.fold, "trn")
        for name, baseline in build_baselines(trn, settings.backbone).items():
            test(baseline, settings, name)


def make_matcher() -> None:
    """Choose the matcher without training on training classes, keep all choices tried, and test it; skip what is done.

    Kept as training-free-choices.json: a row for each choice (see `Match`), the best one first.
    """
    from ifsl.data.benchmarks import Benchmark
    from ifsl.run.training_free import Match, TrainingFree, choose_match
    from ifsl.tiny import ensure_tiny

    settings = Settings(**TINY)
    ensure_tiny(settings.datapath)
    kept = KEPT / CHOICES
    if not kept.is_file():
        trn = Benchmark(settings.benchmark, settings.datapath, settings.fold, "trn")
        tried = choose_match(TrainingFree(settings.backbone), trn, workers=settings.workers)
        rows = [one._replace(null=None if one.null == float("-inf") else one.null)._asdict() for one in tried]
        kept.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    rows = json.loads(kept.read_text(encoding="utf-8"))
    for name, with_null in MATCHERS.items():
        matcher = TrainingFree(settings.backbone).eval()
        matcher.use(Match(**next(row for row in rows if (row["null"] is not None) == with_null)))
        test(matcher, settings, name)


def untrained(settings: Settings):
    """The learner that the run began with."""
    import torch

    from ifsl.learners import build_model

    torch.manual_seed(settings.seed)
    return build_model(settings.method, settings.backbone, settings.pretrained, **settings.options)


def test(model, settings: Settings, name: str) -> None:
    """Evaluate a learner on the first `EPISODES` test episodes, 1-way 1-shot, and keep the result.

    A result of the same file is left as it is; of what was not trained there is no file.
    """
    from ifsl.data.benchmarks import Benchmark
    from ifsl.run.evaluation import Result, evaluate

    kept = KEPT / f"{name}.json"
    if kept.is_file() and Result.load(kept).settings.get("sha256") == model.settings.get("sha256"):
        return
    bench = Benchmark(settings.benchmark, settings.datapath, settings.fold)
    print(name)
    evaluate(model, bench, episodes=EPISODES, weak=settings.weak).save(KEPT, name)


def table() -> str:
    """What is kept, as a Markdown table; intervals hold 95 % of resampled sets of episodes."""
    rows = [
        "| | ER, untrained | ER | mIoU, untrained | mIoU | file |",
        "|---|---|---|---|---|---|",
    ]
    for name in (*BASELINES, *MATCHERS, *RUNS):
        if not (KEPT / f"{name}.json").is_file():
            continue
        er, miou = describe(name)
        kept = KEPT / f"{name}.safetensors"
        before = describe(f"{name}-untrained") if name in RUNS else ("", "")
        size = f"{kept.stat().st_size / 1e6:.1f} MB" if kept.is_file() else ""
        rows.append(f"| {name} | {before[0]} | {er} | {before[1]} | {miou} | {size} |")
    return "\n".join(rows)


def describe(name: str) -> tuple[str, str]:
    """ER and mIoU of a kept result with their intervals, in %."""
    from ifsl.run.evaluation import Result

    path = KEPT / f"{name}.json"
    result = Result.load(path)
    if result.er is None:
        raise InputError(f"{path} holds a result of FS-S, which has no ER; evaluate {name} in FS-CS again.")
    ends = result.intervals()
    return tuple(f"{getattr(result, m):.1f} ({ends[m][0]:.1f}–{ends[m][1]:.1f})" for m in ("er", "miou"))


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the kept checkpoints of the tiny benchmark.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join((*RUNS, 'baselines', 'matcher'))}")
    parser.add_argument("--again", action="store_true", help="make each NAME again, although it is kept")
    parser.add_argument("--table", action="store_true", help="print the table of what is kept, make nothing")
    asked = parser.parse_args()
    makers = {name: partial(make, name) for name in RUNS} | {"baselines": make_baselines, "matcher": make_matcher}
    if strays := set(asked.names) - set(makers):
        parser.error(f"there is no kept run {min(strays)}; choose of {', '.join(makers)}")
    try:
        if asked.again and not asked.names:
            raise InputError(f"--again deletes what is kept first; say of which NAME, of {', '.join(makers)}.")
        with chdir(ROOT):
            for name in [] if asked.table else asked.names or makers:
                if asked.again:
                    remove(name)
                makers[name]()
            print(table())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
