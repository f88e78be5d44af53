"""Make the kept checkpoints of the tiny benchmark, their curves and their results.

    python ci/checkpoints.py            all of them, one after another
    python ci/checkpoints.py asnet      just this one
    python ci/checkpoints.py --table    the table of what is kept, as the README has it

An interrupted run goes on where it was. data/checkpoints/tiny keeps of each run the learner (<name>.safetensors), its
curve (<name>-curve.csv), and its results on 500 test episodes, trained and untrained (<name>.json and .csv,
<name>-untrained.json and .csv).
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from ifsl.errors import InputError
from ifsl.run.settings import Settings

KEPT = Path("data/checkpoints/tiny")
EPISODES = 500
TINY = {
    "backbone": "efficientnet_lite0",
    "bsz": 8,
    "decay": True,
    "val_every": 50,
    "val_episodes": 100,
    "workers": 1,
    "nowandb": True,
}
RUNS = {
    "panet": {"steps": 100},
    "pfenet": {"steps": 400, "cache_features": True, "width": 64, "lr": 0.3},
    "asnet": {"steps": 250, "cache_features": True},
    "hsnet": {"steps": 250, "cache_features": True},
    "asnethm": {"steps": 250, "cache_features": True},
    "asnet-weak": {"steps": 400, "cache_features": True, "lr": 3e-4, "val_every": 100},
}
"""Name of a run: its settings besides `TINY`; the method is the name without `-weak`."""


def settings_of(name: str) -> Settings:
    """The settings of a kept run; it is logged in `logs/pascal/fold0/efficientnet_lite0/kept-<name>`."""
    return Settings(
        method=name.removesuffix("-weak"), weak=name.endswith("-weak"), logpath=f"kept-{name}", **TINY | RUNS[name]
    )


def make(name: str) -> None:
    """Train, keep and test one learner; skip what is done already."""
    from ifsl.run.checkpoints import load_model, save_learner
    from ifsl.run.training import train
    from ifsl.tiny import ensure_tiny

    settings = settings_of(name)
    ensure_tiny(settings.datapath)
    kept = KEPT / f"{name}.safetensors"
    if not kept.is_file():
        folder = train(settings, resume=(settings.folder / "last.ckpt").is_file())
        save_learner(load_model(folder), kept, **settings.plain())
        shutil.copyfile(folder / "metrics.csv", KEPT / f"{name}-curve.csv")
    test(load_model(kept), settings, name)
    test(untrained(settings), settings, f"{name}-untrained")


def untrained(settings: Settings):
    """The learner that the run began with."""
    import torch

    from ifsl.learners import build_model

    torch.manual_seed(settings.seed)
    return build_model(settings.method, settings.backbone, settings.pretrained, **settings.options)


def test(model, settings: Settings, name: str) -> None:
    """Evaluate a learner on the first `EPISODES` test episodes, 1-way 1-shot, and keep the result."""
    from ifsl.data.benchmarks import Benchmark
    from ifsl.run.evaluation import evaluate

    if (KEPT / f"{name}.json").is_file():
        return
    bench = Benchmark(settings.benchmark, settings.datapath, settings.fold)
    print(name)
    evaluate(model, bench, episodes=EPISODES, weak=settings.weak).save(KEPT, name)


def table() -> str:
    """What is kept, as a Markdown table."""
    rows = [
        "| learner | ER, untrained | ER, trained | mIoU, untrained | mIoU, trained | file |",
        "|---|---|---|---|---|---|",
    ]
    for name in RUNS:
        kept = KEPT / f"{name}.safetensors"
        if kept.is_file():
            after, before = (json.loads((KEPT / f"{which}.json").read_text()) for which in (name, f"{name}-untrained"))
            scores = [f"{result[metric]:.1f} %" for metric in ("er", "miou") for result in (before, after)]
            rows.append(f"| {name} | {' | '.join(scores)} | {kept.stat().st_size / 1e6:.1f} MB |")
    return "\n".join(rows)


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the kept checkpoints of the tiny benchmark.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--table", action="store_true", help="print the table of what is kept, make nothing")
    asked = parser.parse_args()
    if strays := set(asked.names) - set(RUNS):
        parser.error(f"there is no kept run {min(strays)}; choose of {', '.join(RUNS)}")
    try:
        for name in [] if asked.table else asked.names or RUNS:
            make(name)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
