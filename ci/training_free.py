"""Measure the matcher without training beside the other baselines, on one fold; a few minutes for each.

    python ci/training_free.py [--benchmark pascal] [--root data/tiny] [--fold 0] [--episodes 240] [--test 200] [--kept]

Everything is chosen on 1-way 1-shot episodes of the training classes. Printed are the best choice for each set of
levels, with and without a null match, and then the metrics on test episodes of the matcher as chosen, of the matcher
as chosen without a null match, and of the baselines of `ifsl.run.baselines`. With --kept, the kept learners follow,
each below itself as it was before training.
"""

import sys
from argparse import Namespace

import torch

from ifsl.__main__ import Parser, run_command
from ifsl.data.benchmarks import Benchmark
from ifsl.data.kept import KEPT
from ifsl.learners import build_model
from ifsl.learners.learner import Learner
from ifsl.run.baselines import build_baselines
from ifsl.run.checkpoints import load_model
from ifsl.run.evaluation import evaluate
from ifsl.run.settings import BENCHMARKS
from ifsl.run.training_free import LEVEL_SETS, Match, TrainingFree, choose_match

NONE = float("-inf")


def measure(options: Namespace) -> int:
    """Print the two tables; returns the exit status 0."""
    trn, val = (Benchmark(options.benchmark, options.root, options.fold, split) for split in ("trn", "val"))
    matcher = TrainingFree().eval()
    table = choose_match(matcher, trn, options.episodes, workers=options.workers)
    print(f"{'levels':<10}{'temperature':>12}{'null':>6}{'presence':>10}{'mask':>7}{'ER %':>8}{'mIoU %':>8}  training")
    for levels in LEVEL_SETS:
        own = [one for one in table if one.levels == levels]
        for some in ([one for one in own if one.null > NONE], [one for one in own if one.null == NONE]):
            print(describe(some[0]))
    plain = next(one for one in table if one.null == NONE)
    without = TrainingFree().eval()
    without.use(plain)
    rows = {"training-free": matcher, "  without a null match": without}
    rows |= build_baselines(trn, episodes=options.episodes)
    rows |= kept_learners() if options.kept else {}
    print(f"\n{'test episodes: ' + str(options.test):<24}{'ER %':>6}  {'95 %':<14}{'mIoU %':>6}  95 %")
    for name, model in rows.items():
        weak = "weak" in name
        result = evaluate(model, val, episodes=options.test, workers=options.workers, weak=weak, progress=False)
        (low, high), (least, most) = result.intervals().values()
        spans = f"{low:.1f} to {high:.1f}", f"{least:.1f} to {most:.1f}"
        print(f"{name:<24}{result.er:6.1f}  {spans[0]:<14}{result.miou:6.1f}  {spans[1]}", flush=True)
    return 0


def kept_learners() -> dict[str, Learner]:
    """The kept learners, each after a learner of the same kind that was not trained."""
    rows = {}
    for name in KEPT:
        trained, title = load_model(name), name.removeprefix("tiny/")
        own = {option: getattr(trained, option) for option in trained.options}
        torch.manual_seed(0)
        rows[f"{title}, untrained"] = build_model(trained.method, trained.backbone_name, pretrained=True, **own)
        rows[title] = trained
    return rows


def describe(one: Match) -> str:
    """A choice as a line of the first table."""
    levels, null = "+".join(map(str, one.levels)), "none" if one.null == NONE else f"{one.null:.1f}"
    return (
        f"{levels:<10}{one.temperature:12.2f}{null:>6}{one.presence:10.3f}{one.mask:7.3f}{one.er:8.1f}{one.miou:8.1f}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python ci/training_free.py", description=__doc__.split("\n")[0])
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="pascal")
    parser.add_argument("--root", metavar="DIR", default="data/tiny", help="folder that holds VOC2012 or COCO2014")
    parser.add_argument("--fold", type=int, choices=range(4), default=0)
    parser.add_argument("--episodes", type=int, default=240, help="training episodes that everything is chosen on")
    parser.add_argument("--test", type=int, default=200, help="test episodes")
    parser.add_argument("--kept", action="store_true", help="test the kept learners, too")
    parser.add_argument("--workers", type=int, help="processes that read ahead (default: one per core, at most 8)")
    return run_command(parser, measure, arguments)


if __name__ == "__main__":
    sys.exit(main())
