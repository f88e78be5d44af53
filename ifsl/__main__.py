"""The command line: training, testing and pictures, with the options of the published system (chapter 13).

    python -m ifsl --method asnet --benchmark pascal --datapath data --fold 0 --backbone resnet50 --logpath demo
    python -m ifsl --method asnet --benchmark pascal --datapath data --fold 0 --backbone resnet50 --logpath demo --eval

`python -m ifsl.tiny` and `python -m ifsl.download` share `Parser` and `run_command`. PyTorch and Lightning are imported
where they are used, so that --help is there at once.
"""

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from .errors import InputError, shown, writing
from .learners import BACKBONE_NAMES, LEARNERS
from .run.settings import BENCHMARKS, OPTIONS, PRECISIONS, Settings, check_folder, first_process
from .tasks import AUGMENTS, OBJECTS, TASKS, check_setting

UNTRAINED = "untrained"

ASKED = ("eval", "vis", "resume", "checkpoint", "episodes", "own_size", "augment", "objects", "seen_classes")
"""Options that are not settings of a run."""

TRAINING = ("lr", "decay", "niter", "steps", "val_every", "val_episodes", "start", "resume", "cache_features")
TESTING = ("vis", "checkpoint", "episodes", "own_size", "augment", "objects", "seen_classes")
"""Options of one kind of work, which the other does not take."""

DECIDING = ("size", "void", "compared_at", "supervision", "lists", "data", "tiny")
"""Settings of a result on which its scores depend, and which are not in the name of its file."""

AGAIN = "Give the command again to go on."
"""What to do after Ctrl-C, if the work does not say it."""


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one sentence, without the list of all options; no option can be abbreviated."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str):
        self.exit(2, f"ifsl: {message}; see {self.prog} --help\n")


def run_command(parser: Parser, work: Callable[[Namespace], int], arguments: list[str] | None = None) -> int:
    """Parse the arguments (by default those of the process), do the work, and report in one sentence what went wrong.

    Returns the exit status: that of `work`, 2 for what cannot be used, read or written, 130 after Ctrl-C. The message
    of a `KeyboardInterrupt` says how to go on.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets a ? for what it cannot show
    options = parser.parse_args(arguments)
    try:
        return work(options)
    except InputError as error:
        print(f"ifsl: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        name, why = error.filename or vars(options).get("root", "A file"), error.strerror or error
        print(f"ifsl: {name} cannot be read or written ({why}); look at its place and disk.", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"\nifsl: Interrupted. {str(error) or AGAIN}", file=sys.stderr)
        return 130


def main(arguments: list[str] | None = None) -> int:
    """`python -m ifsl`; returns the exit status."""
    return run_command(build_parser(), train_or_test, arguments)


def build_parser() -> Parser:
    """All options. An option that is not given is absent from the result, so that `Settings` alone has the defaults."""
    parser = Parser(
        prog="python -m ifsl",
        description="Train a learner, or test one with --eval. Logs: logs/<benchmark>/fold<F>/<backbone>/<logpath>/.",
        argument_default=argparse.SUPPRESS,
    )

    what = parser.add_argument_group("what")
    what.add_argument("--method", choices=tuple(LEARNERS), help="the learner (default: asnet)")
    what.add_argument(
        "--task", choices=tuple(TASKS), help="fs-s: few-shot segmentation, the class is always there (default: fs-cs)"
    )
    what.add_argument("--benchmark", choices=BENCHMARKS, help="Pascal-5i or COCO-20i (default: pascal)")
    what.add_argument("--datapath", metavar="DIR", help="folder that holds VOC2012 or COCO2014 (default: data/tiny)")
    what.add_argument("--lists", metavar="DIR", help="folder of image lists (default: <datapath>/splits)")
    what.add_argument("--fold", type=int, choices=range(4), help="which classes to test on (default: 0)")
    what.add_argument("--backbone", choices=BACKBONE_NAMES, help="feature extractor (default: resnet50)")
    what.add_argument("--logpath", metavar="NAME", help="last folder of the logs (default: the method's name)")
    what.add_argument("--way", type=int, metavar="N", help="classes in an episode (default: 1)")
    what.add_argument(
        "--shot", type=int, metavar="K", help="supports of a class in testing; training has 1 (default: 1)"
    )
    what.add_argument("--weak", action="store_true", help="learn and test from class tags, without masks")
    what.add_argument(
        "--void-ignore", action="store_true", help="leave void pixels out; as published they are background"
    )
    what.add_argument(
        "--size",
        type=int,
        metavar="S",
        help="image side in pixels (default: 400, dinov2_vits14 700, efficientnet_lite0 272)",
    )
    what.add_argument("--width", type=int, metavar="C", help="channels of pfenet (default: 256)")
    what.add_argument(
        "--published-prior",
        action="store_true",
        help="pfenet's prior for several ways, with the published code's fault",
    )
    what.add_argument(
        "--frozen-norm", action="store_true", help="panet's batch normalisation keeps its pretrained statistics"
    )

    training = parser.add_argument_group("training")
    training.add_argument("--bsz", type=int, metavar="B", help="episodes in a batch of each process (default: 12)")
    training.add_argument(
        "--lr",
        type=float,
        help="learning rate (default: 1e-3, with --weak 1e-4, cst 1e-3; pfenet 2.5e-3; panet 1e-3)",
    )
    training.add_argument("--decay", action="store_true", help="lower the learning rate to 0 along a cosine")
    training.add_argument("--niter", type=int, metavar="EPOCHS", help="epochs (default: 2000)")
    training.add_argument("--steps", type=int, help="stop after so many steps instead")
    training.add_argument(
        "--val-every", type=int, metavar="STEPS", help="steps between validations (default: an epoch)"
    )
    training.add_argument("--val-episodes", type=int, metavar="E", help="episodes of a validation (default: 1000)")
    training.add_argument(
        "--start", metavar="FILE", help="checkpoint of the same learner to begin with, instead of random weights"
    )
    training.add_argument("--seed", type=int, help="of the initial weights and all draws (default: 0)")
    training.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the log folder")
    training.add_argument(
        "--cache-features", action="store_true", help="keep a frozen backbone's features of every image in memory"
    )
    training.add_argument("--nowandb", action="store_true", help="do not log to Weights & Biases")

    testing = parser.add_argument_group("testing")
    testing.add_argument("--eval", action="store_true", help="test the best checkpoint of the log folder")
    testing.add_argument(
        "--checkpoint",
        metavar="FILE",
        help=f"test this file or a kept learner, such as tiny/asnet; '{UNTRAINED}' tests one without training",
    )
    testing.add_argument("--episodes", type=int, metavar="E", help="test episodes (default: 1000)")
    testing.add_argument(
        "--own-size", action="store_true", help="with --task fs-s: compare masks at each query's own size"
    )
    testing.add_argument(
        "--augment",
        choices=tuple(AUGMENTS),
        help="supports also serve the other ways that they show (partial), or any test class, which adds ways (full)",
    )
    testing.add_argument(
        "--objects", choices=OBJECTS, help="only queries whose object covers so many %% of the picture"
    )
    testing.add_argument(
        "--seen-classes", action="store_true", help="allow a test on classes that the learner was trained on"
    )
    testing.add_argument("--vis", action="store_true", help="with --eval: also write a picture of each episode")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--devices", help="how many (2) or which (0,1) GPUs, auto, cpu, or cpu:2 (default: 1)")
    machine.add_argument("--nodes", type=int, help="machines (default: 1)")
    machine.add_argument("--precision", choices=tuple(PRECISIONS), help="bits of the arithmetic (default: 32)")
    machine.add_argument("--workers", type=int, help="processes that read ahead (default: one per core, at most 8)")
    return parser


def train_or_test(options: Namespace) -> int:
    """Do what the options ask for; returns the exit status 0."""
    given = vars(options)
    refuse_options(given)
    asked = {name: given.pop(name) for name in ASKED if name in given}
    settings = Settings(**given)
    if "eval" in asked:
        test(settings, given, asked)
    else:
        fit(settings, "resume" in asked)
    return 0


def refuse_options(given: dict) -> None:
    """Raise `InputError` for options of training in testing, of testing in training, and for an empty checkpoint."""
    for name in TRAINING if "eval" in given else TESTING:
        if name in given:
            remedy = "training; leave out --eval, or it" if "eval" in given else "testing; add --eval, or leave it out"
            raise InputError(f"--{name.replace('_', '-')} is for {remedy}.")
    if given.get("checkpoint") == "":
        raise InputError("--checkpoint is empty; give a file, or leave it out to test the run in the log folder.")


def fit(settings: Settings, resume: bool) -> None:
    """Train, and print the best result."""
    if first_process():
        check_folder(settings.folder, resume)  # before the imports, which take seconds
    try:
        from .run.training import train

        folder = train(settings, resume)
    except KeyboardInterrupt:
        again = f"The last checkpoint in {settings.folder} is whole: go on with --resume."
        raise KeyboardInterrupt(again if settings.folder.is_dir() else AGAIN) from None
    if not first_process():
        return
    from .run.callbacks import read_curve

    column, name = settings.monitor, settings.metrics[settings.monitor]
    rows = [row for row in read_curve(folder / "metrics.csv", settings.metrics) if row[column]]
    if rows:
        best = max(rows, key=lambda row: float(row[column]))
        print(f"Best {name} in validation: {float(best[column]):.2f} % at step {best['step']}. All is in {folder}.")
    else:
        print(f"metrics.csv has no validation any more. All is in {folder}.")


def test(settings: Settings, given: dict, asked: dict) -> None:
    """Evaluate; print the table; write it, and pictures if wanted, into the log folder.

    given: the settings that are on the command line; asked: the options that are not settings.
    """
    from .data.benchmarks import Benchmark
    from .data.loading import TEST_EPISODES
    from .run.devices import pick_device, reduce_precision
    from .run.evaluation import describe_episodes, draw_test_episodes, evaluate_episodes

    augment, objects = asked.get("augment"), asked.get("objects")
    check_setting(augment, objects, settings.way, settings.task, settings.weak)
    bench = Benchmark(settings.benchmark, settings.datapath, settings.fold, "val", settings.lists)
    bench.check_layout()
    model = load(settings, given, asked.get("checkpoint"))
    data = draw_test_episodes(
        model,
        bench,
        settings.way,
        settings.shot,
        asked.get("episodes", TEST_EPISODES),
        size=settings.size,
        weak=settings.weak,
        void_ignore=settings.void_ignore,
        task=settings.task,
        own_size="own_size" in asked,
        augment=augment,
        objects=objects,
        seen_classes="seen_classes" in asked,
    )
    folder = result_folder(model, settings, given, asked.get("checkpoint"))
    name = f"test-{settings.way}way-{settings.shot}shot" + ("-fs-s" if settings.task == "fs-s" else "")
    name += (f"-{augment}" if augment else "") + (f"-objects{objects}" if objects else "")
    now = describe_episodes(data) | {"supervision": "weak" if settings.weak else "strong"}
    check_result(folder / f"{name}.json", model, now)
    device = pick_device(settings.devices)
    with writing(folder, "make room or choose another folder"):  # what cannot be written fails before the test
        folder.mkdir(parents=True, exist_ok=True)
        NamedTemporaryFile(dir=folder).close()
    with reduce_precision(settings.precision, device):
        result = evaluate_episodes(
            model, data, batch=settings.bsz, workers=settings.workers, weak=settings.weak, device=device
        )
    try:
        paths = result.save(folder, name)  # before the table is printed, which may fail
    finally:
        print(result.table())
    for path in paths:
        print(path)
    if "vis" in asked:
        print(save_pictures(model.to(device), data, settings, folder / name.replace("test", "vis", 1)))


def load(settings: Settings, given: dict, checkpoint: str | None):
    """The learner to test: from the log folder, from a file, or untrained."""
    from .run.checkpoints import best_checkpoint, load_model

    if checkpoint == UNTRAINED:
        import torch

        from .learners import build_model

        torch.manual_seed(settings.seed)
        return build_model(settings.method, settings.backbone, settings.pretrained, **settings.options)
    path = checkpoint or best_checkpoint(settings.folder)
    asked = {name: given[name] for name in ("method", "backbone", *OPTIONS) if name in given}
    return load_model(path, **asked)


def result_folder(model, settings: Settings, given: dict, checkpoint: str | None) -> Path:
    """Where the result of a learner goes: to its run, or to a folder of its own beside the runs.

    The best checkpoint in the log folder of a run on this benchmark and fold belongs to the run; another one there,
    such as last.ckpt, gets the folder `<run>-last`. One from elsewhere gets `tested-<file>-<checksum>`, an untrained
    learner `untrained-<method>-seed<seed>`. All this unless a logpath is given.
    """
    from .run.checkpoints import best_checkpoint

    if checkpoint is None:
        return settings.folder
    logs = replace(settings, backbone=model.backbone_name, method=model.method).folder
    if "logpath" in given:
        return logs
    if checkpoint == UNTRAINED:
        return logs.with_name(f"untrained-{model.method}-seed{settings.seed}")
    path = Path(checkpoint).absolute()
    home = path if path.is_dir() else path.parent
    if home.parent == logs.absolute().parent:
        best = path == home or path.name.startswith("best") and path == best_checkpoint(home)
        return logs.with_name(home.name if best else f"{home.name}-{path.stem}")
    return logs.with_name(f"tested-{Path(checkpoint).stem}-{model.settings['sha256'][:8]}")


def check_result(path: Path, model, now: dict) -> None:
    """Raise `InputError` if a result file holds what the new result could not stand for; an unreadable one may go.

    That is another learner's result, one of other settings than `now`, or one over more episodes. The step does not
    count: a run goes on, and is tested again.
    """
    from .run.evaluation import Result, trace_training

    try:
        before = Result.load(path).settings
    except InputError:
        return
    remedy = "move that file away, or give another --logpath together with --checkpoint"
    learner = {"method": model.method, "backbone": model.backbone_name, **trace_training(model)}
    facts = [(s["method"], s["backbone"], (s.get("trained") or {}) | {"step": None}) for s in (before, learner)]
    if "trained" in before and facts[0] != facts[1]:
        raise InputError(f"{path} holds the result of another learner; {remedy}.")
    for name in DECIDING:
        old, new = before.get(name), now[name]
        if name == "data" and old:
            old, new = os.path.realpath(old), os.path.realpath(new)
        if old not in (None, new):
            raise InputError(f"{path} holds a result with {name} {shown(old)}, not {shown(new)}; {remedy}.")
    if before["episodes"] > now["episodes"]:
        raise InputError(
            f"{path} holds a result over more episodes ({before['episodes']}, now {now['episodes']}); {remedy}."
        )


def save_pictures(model, data, settings: Settings, folder: Path) -> Path:
    """Write a picture of each of `data`'s episodes with its prediction into `folder`, named by its index."""
    from tqdm.auto import tqdm

    from .pictures.episodes import show

    device = next(model.parameters()).device
    with writing(folder, "make room or choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for index in tqdm(range(len(data)), unit="picture"):
            episode = data[index]
            masks = None if settings.weak else episode.masks[None].to(device)
            query, supports = episode.query[None].to(device), episode.supports[None].to(device)
            (presence,), (segmentation,) = model.predict(query, supports, masks, [episode.size], settings.task)
            show(episode, (presence.cpu(), segmentation.cpu())).savefig(folder / f"{index:04d}.png")
    return folder


if __name__ == "__main__":
    sys.exit(main())
