"""The command line: training, evaluation and pictures, with the options of the published system (chapter 13).

    python -m ifsl --method asnet --benchmark pascal --datapath data --fold 0 --backbone resnet50 --logpath demo
    python -m ifsl --method asnet --benchmark pascal --datapath data --fold 0 --backbone resnet50 --logpath demo --eval

What torch and Lightning are needed for is imported when it is used: --help is there at once.
"""

import argparse
import sys
from pathlib import Path

from .errors import InputError
from .run.settings import BACKBONES, BENCHMARKS, METHODS, PRECISIONS, Settings, check_folder, first_process

UNTRAINED = "untrained"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the list of all options."""

    def error(self, message: str):
        self.exit(2, f"ifsl: {message}; see python -m ifsl --help\n")


def build_parser() -> Parser:
    """All options. What is not given does not appear among the results, so that `Settings` alone holds the defaults."""
    parser = Parser(
        prog="python -m ifsl",
        description="Train a learner, or test one with --eval. Logs: logs/<benchmark>/fold<F>/<backbone>/<logpath>/.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )

    what = parser.add_argument_group("what")
    what.add_argument("--method", choices=METHODS, help="the learner (default: asnet)")
    what.add_argument("--benchmark", choices=BENCHMARKS, help="Pascal-5i or COCO-20i (default: pascal)")
    what.add_argument("--datapath", metavar="DIR", help="folder that holds VOC2012 or COCO2014 (default: data/tiny)")
    what.add_argument("--lists", metavar="DIR", help="folder of image lists (default: <datapath>/splits)")
    what.add_argument("--fold", type=int, choices=range(4), help="which classes to test on (default: 0)")
    what.add_argument("--backbone", choices=BACKBONES, help="feature extractor (default: resnet50)")
    what.add_argument("--logpath", metavar="NAME", help="last folder of the logs (default: the method's name)")
    what.add_argument("--way", type=int, metavar="N", help="classes in an episode (default: 1)")
    what.add_argument(
        "--shot", type=int, metavar="K", help="supports of a class in testing; training has 1 (default: 1)"
    )
    what.add_argument("--weak", action="store_true", help="learn and test from class tags, without masks")
    what.add_argument(
        "--fss", action="store_true", help="conventional few-shot segmentation: the class is always there"
    )
    what.add_argument(
        "--void-ignore", action="store_true", help="leave void pixels out; as published they are background"
    )
    what.add_argument(
        "--size", type=int, metavar="S", help="image side in pixels (default: 400, efficientnet_lite0 272)"
    )
    what.add_argument("--width", type=int, metavar="C", help="channels of pfenet (default: 256)")

    training = parser.add_argument_group("training")
    training.add_argument("--bsz", type=int, metavar="B", help="episodes in a batch of each process (default: 12)")
    training.add_argument(
        "--lr",
        type=float,
        help="learning rate (default: 1e-3, with --weak 1e-4; pfenet 2.5e-3; panet 1e-3)",
    )
    training.add_argument("--decay", action="store_true", help="lower the learning rate to 0 along a cosine")
    training.add_argument("--niter", type=int, metavar="EPOCHS", help="epochs (default: 2000)")
    training.add_argument("--steps", type=int, help="stop after so many steps instead")
    training.add_argument(
        "--val-every", type=int, metavar="STEPS", help="steps between validations (default: an epoch)"
    )
    training.add_argument("--val-episodes", type=int, metavar="E", help="episodes of a validation (default: 1000)")
    training.add_argument("--seed", type=int, help="of the initial weights and all draws (default: 0)")
    training.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the log folder")
    training.add_argument(
        "--cache-features", action="store_true", help="keep a frozen backbone's features of every picture in memory"
    )
    training.add_argument("--nowandb", action="store_true", help="do not log to Weights & Biases")

    testing = parser.add_argument_group("testing")
    testing.add_argument("--eval", action="store_true", help="test the best checkpoint of the log folder")
    testing.add_argument("--checkpoint", metavar="FILE", help=f"test this one instead; {UNTRAINED}: none")
    testing.add_argument("--episodes", type=int, metavar="E", help="test episodes (default: 1000)")
    testing.add_argument("--vis", action="store_true", help="with --eval: also write a picture of each episode")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--devices", help="how many (2) or which (0,1) GPUs, auto, cpu, or cpu:2 (default: 1)")
    machine.add_argument("--nodes", type=int, help="machines (default: 1)")
    machine.add_argument("--precision", choices=tuple(PRECISIONS), help="bits of the arithmetic (default: 32)")
    machine.add_argument("--workers", type=int, help="processes that read ahead (default: one per core, at most 8)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for what cannot be used, 130 after Ctrl-C."""
    parser = build_parser()
    options = vars(parser.parse_args(arguments))
    asked = {name: options.pop(name) for name in ("eval", "vis", "resume", "checkpoint", "episodes") if name in options}
    try:
        settings = Settings(**options)
        check(asked)
        if "eval" in asked:
            test(settings, options, asked)
        else:
            fit(settings, "resume" in asked)
    except InputError as error:
        print(f"ifsl: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        name = error.filename or settings.folder
        print(
            f"ifsl: {name} cannot be read or written ({error.strerror}); look at its place and disk.", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        where = "" if "eval" in asked else f" The last checkpoint in {settings.folder} is whole: go on with --resume."
        print(f"\nifsl: Interrupted.{where}", file=sys.stderr)
        return 130
    return 0


def check(asked: dict) -> None:
    """Raise `InputError` for options that do not go together."""
    for name in ("vis", "checkpoint", "episodes"):
        if name in asked and "eval" not in asked:
            raise InputError(f"--{name} is for testing; add --eval, or leave it out.")
    if "resume" in asked and "eval" in asked:
        raise InputError("--resume is for training; leave out --eval, or it.")


def fit(settings: Settings, resume: bool) -> None:
    """Train, and say what came of it."""
    if first_process():
        check_folder(settings.folder, resume)  # before the imports, which take seconds
    from .run.training import read_curve, train

    folder = train(settings, resume)
    if not first_process():
        return
    column, name = ("val_er", "ER") if settings.weak else ("val_miou", "mIoU")
    best = max((row for row in read_curve(folder / "metrics.csv") if row[column]), key=lambda row: float(row[column]))
    print(f"Best {name} in validation: {float(best[column]):.2f} % at step {best['step']}. All is in {folder}.")


def test(settings: Settings, options: dict, asked: dict) -> None:
    """Evaluate; print the table; write it, and pictures if wanted, into the log folder."""
    from .data.benchmarks import Benchmark
    from .run.evaluation import evaluate

    bench = Benchmark(settings.benchmark, settings.datapath, settings.fold, "val", settings.lists)
    bench.check_layout()
    model = load(settings, options, asked.get("checkpoint"))
    how = {"way": settings.way, "shot": settings.shot, "episodes": asked.get("episodes", 1000)}
    size = settings.size or model.image_size
    protocol = {"size": size, "void_ignore": settings.void_ignore, "always_present": settings.fss}
    running = {"batch": settings.bsz, "workers": settings.workers, "device": device(settings.devices)}
    with arithmetic(settings.precision, running["device"]):
        result = evaluate(model, bench, **how, **protocol, **running, weak=settings.weak)
    print(result.table())
    name = f"test-{settings.way}way-{settings.shot}shot" + ("-fss" if settings.fss else "")
    for path in result.save(settings.folder, name):
        print(path)
    if "vis" in asked:
        print(draw_pictures(model, bench, how, protocol, settings, running["device"]))


def load(settings: Settings, options: dict, checkpoint: str | None):
    """The learner to test: of the log folder, of a file, or untrained."""
    from .run.checkpoints import best_checkpoint, load_model

    if checkpoint == UNTRAINED:
        import torch

        from .learners import build_model

        torch.manual_seed(settings.seed)
        more = {} if settings.width is None else {"width": settings.width}
        return build_model(settings.method, settings.backbone, settings.pretrained, **more)
    path = Path(checkpoint) if checkpoint else best_checkpoint(settings.folder)
    return load_model(path, method=options.get("method"), backbone=options.get("backbone"))


def device(devices: str) -> str:
    """The one device that testing runs on."""
    from .run.training import parse_devices

    kind, which = parse_devices(devices)
    if which != 1 and not (isinstance(which, list) and len(which) == 1):
        raise InputError(f"--devices is {devices}, but testing runs on one; give 1, or leave it out.")
    return f"cuda:{which[0]}" if isinstance(which, list) else kind.replace("auto", "cpu")


def arithmetic(precision: str, device: str):
    """The context in which products are computed with fewer bits, where that is asked for."""
    import torch

    kind = torch.device(device).type
    if precision == "16" and kind == "cpu":
        raise InputError("precision 16 needs a GPU; choose bf16 or 32.")
    dtype = {"16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    return torch.autocast(kind, dtype, enabled=dtype is not None)


def draw_pictures(model, bench, how: dict, protocol: dict, settings: Settings, device: str) -> Path:
    """Write a picture of each episode with its prediction into `<log folder>/vis`, named by its index."""
    from tqdm.auto import tqdm

    from .data.episodes import draw, read
    from .pictures.figures import show

    folder = settings.folder / "vis"
    folder.mkdir(parents=True, exist_ok=True)
    model.to(device)
    for index in tqdm(range(how["episodes"]), unit="picture"):
        drawn = draw(bench, index, how["way"], how["shot"], always_present=protocol["always_present"])
        episode = read(bench, drawn, protocol["size"], void_ignore=protocol["void_ignore"])
        masks = None if settings.weak else episode.masks[None].to(device)
        query, supports = episode.query[None].to(device), episode.supports[None].to(device)
        presence, (mask,) = model.predict(query, supports, masks, [episode.size])
        show(episode, (presence[0].cpu(), mask.cpu())).savefig(folder / f"{index:04d}.png")
    return folder


if __name__ == "__main__":
    sys.exit(main())
