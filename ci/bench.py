"""How fast the learners are, measured against their own backbones.

    python -m ifsl.bench [--backbone resnet50] [--device cpu] [--repeats 5] [--out bench.json] [--quick]

The yardstick is the floor: one plain forward pass of the backbone over the images that an episode has, N·K + 1 of them.
What a learner does beside that should be cheap. HM's floor counts the masked support images too, PFENet's is its own
backbone, which keeps a finer grid. The floor of a training step is a plain forward pass of the ordinary backbone over
the step's images, 2 an episode; the step is forward, loss, backward and optimiser.

Letters: B episodes, N ways, K shots, S image side.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ifsl.errors import InputError
from ifsl.learners import METHODS, Learner, build_model
from ifsl.learners.backbones import BACKBONES, LitePyramid, build_backbone
from ifsl.learners.maps import strong_loss
from ifsl.run.evaluation import replace_text

EPISODES = ((1, 1), (2, 1), (5, 1), (1, 5))
"""Ways and shots of the episodes that are evaluated."""
BATCHES = (2, 8)
"""Episodes in a training step."""
WARM_UP = 2
"""Turns before the timed ones; after them the process holds the memory that it goes on using."""
TURNS = 3
"""Timed runs of an episode for each of a training step, which takes many times as long."""
READ = 256
"""Episodes that are read to find out how fast that is."""


def costs(
    methods: Sequence[str] = tuple(METHODS),
    backbone: str = "efficientnet_lite0",
    way: int = 1,
    shot: int = 1,
    repeats: int = 5,
) -> list[dict]:
    """What an episode costs each learner, evaluated one episode at a time on the CPU.

    A dict for each method: method; trained, how many parameters training changes; seconds an episode; floor, how often
    the backbone alone could have seen the episode's images in that time. Both are medians over `repeats` runs, in which
    learner and backbone take turns. Weights and images are random, a quarter of each support image is inside the mask.
    Raises `InputError` for an unknown method or backbone.
    """
    rows = []
    for method in methods:
        model = random_model(method, backbone)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        found = evaluation(model, way, shot, repeats)
        rows.append({"method": method, "trained": trained, "seconds": found["seconds"], "floor": found["floor"]})
    return rows


# What is measured -----------------------------------------------------------------------------------------------------


def measure(backbone: str, device: torch.device, repeats: int, quick: bool = False) -> Iterator[dict]:
    """After each figure all those found so far, as they are written to JSON: machine, settings, evaluation, training,
    and at last reading. Training steps are timed `repeats` times, episodes `TURNS` times as often."""
    methods = [method for method in METHODS if (method, backbone) != ("pfenet", "resnet101")]
    episodes, batches = (EPISODES[:1], BATCHES[:1]) if quick else (EPISODES, BATCHES)
    found = {
        "machine": machine(device),
        "settings": {"backbone": backbone, "device": str(device), "repeats": repeats, "quick": quick},
        "evaluation": [],
        "training": [],
    }
    with tqdm(total=len(methods) * (len(episodes) + len(batches)) + 1, unit="figure") as bar:
        for (way, shot), method in product(episodes, methods):  # the small ones first, while memory is in one piece
            bar.set_description(f"{method} {way}-way {shot}-shot")
            model = random_model(method, backbone).to(device)
            row = {"method": method, "way": way, "shot": shot}
            found["evaluation"].append(row | evaluation(model, way, shot, TURNS * repeats))
            bar.update()
            yield found
        for batch, method in product(batches, methods):
            bar.set_description(f"{method} step of {batch}")
            model = random_model(method, backbone).to(device)
            found["training"].append({"method": method, "batch": batch} | training(model, batch, repeats))
            bar.update()
            yield found
        bar.set_description("reading")
        found["reading"] = reading(model.image_size, READ // 8 if quick else READ)
        bar.update()
    yield found


def evaluation(model: Learner, way: int, shot: int, repeats: int) -> dict:
    """seconds an episode, as a multiple of the floor, and the peak memory in MB beyond model and episode."""
    device = next(model.parameters()).device
    query, supports, masks = episode = random_episode(1, way, shot, model.image_size, device)
    images = torch.cat([query, supports.flatten(0, 2)])
    if model.method == "asnethm":
        images = torch.cat([images, supports.flatten(0, 2)])
    plain = plain_backbone(model)
    with torch.inference_mode():
        return take_turns(lambda: model.maps(*episode), lambda: plain(images), repeats, device)


def training(model: Learner, batch: int, repeats: int) -> dict:
    """As `evaluation`, of one training step with `batch` episodes of one way and one shot."""
    from ifsl.run.settings import Settings
    from ifsl.run.training import recipe  # takes seconds to import

    device = next(model.parameters()).device
    query, supports, masks = random_episode(batch, 1, 1, model.image_size, device)
    images = torch.cat([query, supports.flatten(0, 2)])
    plain = build_backbone(model.backbone_name).to(device)
    plain = plain.net if isinstance(plain, LitePyramid) else plain
    optimizer = recipe(Settings(method=model.method), [p for p in model.parameters() if p.requires_grad])

    def step() -> None:
        loss = strong_loss(model.maps(query, supports, masks).stacked, masks[:, 0, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.train()
    found = take_turns(step, torch.inference_mode()(lambda: plain(images)), repeats, device)
    model.zero_grad()
    model.eval()
    return found


def reading(size: int, episodes: int) -> dict:
    """Episodes a second that workers, one a core, read from the tiny benchmark, which is drawn where it is missing."""
    from ifsl.data.benchmarks import Benchmark
    from ifsl.data.loading import TestEpisodes, loader
    from ifsl.data.workers import cores
    from ifsl.tiny import ensure_tiny

    data = TestEpisodes(Benchmark("pascal", ensure_tiny()), 1, 1, episodes, size)
    workers = min(8, cores())
    batches = iter(loader(data, 1, workers))
    next(batches)  # the workers have started
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    return {"workers": workers, "size": size, "episodes_per_second": count / (time.perf_counter() - started)}


def random_model(method: str, backbone: str) -> Learner:
    """A learner with random weights that are the same on every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(method, backbone)


def random_episode(
    batch: int, way: int, shot: int, size: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """query (B, 3, S, S), supports (B, N, K, 3, S, S) and masks (B, N, K, S, S), each a disc on a quarter of its image.

    The masks matter: HSNet compares nothing outside, ASNet and HM attend to nothing there.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(batch, way * shot + 1, 3, size, size, generator=draw).to(device)
    along = torch.linspace(-0.5, 0.5, size, device=device).square()
    disc = (torch.pi * (along + along[:, None]) < 0.25).float()
    supports = images[:, 1:].unflatten(1, (way, shot))
    return images[:, 0], supports, disc.expand(batch, way, shot, size, size)


def plain_backbone(model: Learner) -> nn.Module:
    """The learner's backbone as its authors wrote it, classification head and all; PFENet has its own."""
    if model.method == "pfenet":
        return nn.Sequential(*model.frozen_modules())
    return model.backbone.net if isinstance(model.backbone, LitePyramid) else model.backbone


# How it is measured ---------------------------------------------------------------------------------------------------


def take_turns(run: Callable, floor: Callable, repeats: int, device: torch.device) -> dict:
    """Median seconds of `run`, median of its multiples of `floor`, and the memory of `run`'s first call in MB.

    The two are called in turn, because a machine's speed drifts; the first `WARM_UP` turns do not count.
    """
    needed = peak_memory(run, device)
    pairs = [(seconds(run, device), seconds(floor, device)) for _ in range(WARM_UP + repeats)][WARM_UP:]
    return {
        "seconds": statistics.median(a for a, _ in pairs),
        "floor": statistics.median(a / b for a, b in pairs),
        "megabytes": None if needed is None else round(needed / 2**20),
    }


def seconds(run: Callable, device: torch.device) -> float:
    """How long a call takes, to the end of all that it started on a GPU."""
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(run: Callable, device: torch.device) -> int | None:
    """Bytes that a call needs beyond what was held before; None where the system does not say."""
    if device.type != "cuda":
        return peak(run)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


def machine(device: torch.device) -> dict:
    """What the figures were measured on."""
    found = {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 1)  # processes that wanted a core in the last minute
    return found | {"system": platform.platform(), "python": platform.python_version(), "torch": torch.__version__}


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# The command line -----------------------------------------------------------------------------------------------------


def table(found: dict) -> str:
    """The figures as lines of text."""
    machine, settings, read = found["machine"], found["settings"], found["reading"]
    where = f"{machine['gpu']}, " if "gpu" in machine else ""
    lines = [
        f"{where}{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, torch "
        f"{machine['torch']}, load {machine.get('load', 'unknown')}",
        f"{settings['backbone']} on {settings['device']}; medians of {TURNS * settings['repeats']} episodes, "
        f"{settings['repeats']} training steps",
        "",
        f"{'evaluation':<12}{'way':>5}{'shot':>5}{'episodes/s':>12}{'x floor':>9}{'peak MB':>9}",
    ]
    for row in found["evaluation"]:
        lines.append(f"{row['method']:<12}{row['way']:>5}{row['shot']:>5}{1 / row['seconds']:>12.2f}{rest(row)}")
    lines += ["", f"{'training':<12}{'batch':>10}{'steps/s':>12}{'x floor':>9}{'peak MB':>9}"]
    for row in found["training"]:
        lines.append(f"{row['method']:<12}{row['batch']:>10}{1 / row['seconds']:>12.2f}{rest(row)}")
    lines += ["", f"reading: {read['episodes_per_second']:.0f} episodes/s with {read['workers']} workers"]
    return "\n".join(lines)


def rest(row: dict) -> str:
    return f"{row['floor']:>9.2f}{'–' if row['megabytes'] is None else row['megabytes']:>9}"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str):
        self.exit(2, f"ifsl.bench: {message}; see python -m ifsl.bench --help\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for what cannot be used, 130 after Ctrl-C."""
    parser = Parser(
        prog="python -m ifsl.bench",
        description="Time every learner against its own backbone; print a table and write the figures as JSON.",
        allow_abbrev=False,
    )
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="default: %(default)s")
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    parser.add_argument(
        "--repeats",
        type=int,
        default=5,
        help=f"timed runs of each training step; of each episode {TURNS} times as many (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default="bench.json", metavar="FILE", help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one way and shot, one batch size")
    options = parser.parse_args(arguments)
    found = None
    try:
        if options.repeats < 1:
            raise InputError(f"--repeats is {options.repeats}; give a whole number from 1.")
        if not options.out.parent.is_dir() or options.out.is_dir():
            raise InputError(f"--out is {options.out}; give a file in a folder that is there.")
        device = find_device(options.device)
        for found in measure(options.backbone, device, options.repeats, options.quick):
            replace_text(options.out, json.dumps(found, indent=1) + "\n")
        print(table(found), options.out, sep="\n")
    except InputError as error:
        print(f"ifsl.bench: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ifsl.bench: {error.filename} cannot be read ({error.strerror}); look at its place.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        so_far = f"{options.out} holds the figures so far" if found else "nothing had been measured"
        print(f"\nifsl.bench: Interrupted; {so_far}.", file=sys.stderr)
        return 130
    return 0


def find_device(name: str | None) -> torch.device:
    """The device of that name, by default a GPU if there is one; raises `InputError` for one that is not there."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    known = kind in ("cpu", "cuda") and (not number or number.isdigit())
    gpus = torch.cuda.device_count()
    if not known or kind == "cuda" and int(number or 0) >= gpus or kind == "cpu" and number:
        raise InputError(f"--device is {name}; this machine has cpu{''.join(f', cuda:{i}' for i in range(gpus))}.")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
