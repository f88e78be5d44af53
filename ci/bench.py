"""Measure how fast the learners are, and what the twins in ifsl/learners/fast save.

    python ci/bench.py [--backbone resnet50] [--device cpu] [--repeats 5] [--out build/bench.json] [--quick] [--twins]

Every time is compared with two others. The floor is one plain forward pass of the learner's own backbone over the
images of the episode, N·K + 1 of them; HM's floor counts the masked support images too, and PFENet has a backbone with
a finer grid. The floor of a training step is a forward pass of the ordinary backbone over the step's images, 2 an
episode; the step itself is forward, loss, backward and optimiser. Plain is the same work by the same learner without
the twins. --twins also switches them off one at a time: a twin that saves less than 15 % of every episode and of every
step is to be deleted. On a GPU no twin runs, so nothing is compared with plain there.

Letters: N ways, K shots.
"""

import ctypes
import json
import os
import platform
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import torch
from tqdm.auto import tqdm

from ifsl.__main__ import Parser, run_command
from ifsl.course import WARM_UP, episode_images, plain_backbone, random_episode, random_model, time_call
from ifsl.data.benchmarks import Benchmark
from ifsl.data.files import write_whole
from ifsl.data.loading import TestEpisodes, loader
from ifsl.data.workers import cores
from ifsl.errors import InputError
from ifsl.learners import BACKBONES, LEARNERS, Learner, learner_class
from ifsl.learners.backbones import LitePyramid, build_backbone
from ifsl.learners.fast import attention, backbones, convolution, correlation, group_norm, use_plain
from ifsl.tiny import ensure_tiny

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench.json"
EPISODES = ((1, 1), (2, 1), (1, 5))
"""Ways and shots of the episodes that are evaluated."""
BATCHES = (2, 8)
"""Episodes in a training step."""
TURNS = 3
"""Timed runs of an episode for each of a training step, which takes many times as long."""
READ = 256
"""Episodes that are read to find out how fast that is."""

SQUEEZING = ("hsnet", "asnet", "asnethm")
OF_TOKENS = ("cst", "emat", "ematseg")
TWINS = {
    backbones.pyramid: ("panet", *SQUEEZING, *OF_TOKENS),
    correlation.correlation_pyramid: SQUEEZING,
    group_norm.group_norm: SQUEEZING,
    convolution.center_pivot: ("hsnet",),
    convolution.convolve_support: ("asnet", "asnethm"),
    attention.attention: ("asnet", "asnethm"),
}
"""Each twin and the learners that run it."""


# What is measured -----------------------------------------------------------------------------------------------------


def measure(
    backbone: str, device: torch.device, repeats: int, quick: bool = False, twins: bool = False
) -> Iterator[dict]:
    """After each measurement, all results so far: machine, settings, evaluation, training, and at last reading.

    Training steps are timed `repeats` times, episodes `TURNS` times as often. twins: also switch off one twin at
    a time.
    """
    methods = [method for method in LEARNERS if backbone in learner_class(method).backbones]
    episodes, batches = (EPISODES[:1], BATCHES[:1]) if quick else (EPISODES, BATCHES)
    found = {
        "machine": describe_machine(device),
        "settings": {"backbone": backbone, "device": str(device), "repeats": repeats, "quick": quick},
        "evaluation": [],
        "training": [],
    }
    with tqdm(total=len(methods) * (len(episodes) + len(batches)) + 1, unit="result") as bar:
        for (way, shot), method in product(episodes, methods):  # the small ones first, while memory is in one piece
            bar.set_description(f"{method} {way}-way {shot}-shot")
            row = {"method": method, "way": way, "shot": shot}
            model = random_model(method, backbone).to(device)
            found["evaluation"].append(row | measure_episode(model, way, shot, TURNS * repeats, twins))
            bar.update()
            yield found
        for batch, method in product(batches, methods):
            bar.set_description(f"{method} step of {batch}")
            model = random_model(method, backbone).to(device)
            found["training"].append({"method": method, "batch": batch} | measure_step(model, batch, repeats, twins))
            bar.update()
            yield found
        bar.set_description("reading")
        found["reading"] = measure_reading(BACKBONES[backbone].image_size, READ // 8 if quick else READ)
        bar.update()
    yield found


def measure_episode(model: Learner, way: int, shot: int, repeats: int, twins: bool = False) -> dict:
    """What `take_turns` returns for an episode."""
    device = next(model.parameters()).device
    episode = random_episode(1, way, shot, model.image_size, device)
    images, floor = episode_images(model, *episode), plain_backbone(model)
    with torch.inference_mode():
        return take_turns(model, lambda: model.maps(*episode), lambda: floor(images), repeats, twins)


def measure_step(model: Learner, batch: int, repeats: int, twins: bool = False) -> dict:
    """What `take_turns` returns for a training step with `batch` episodes of one way and one shot."""
    device = next(model.parameters()).device
    query, supports, masks = random_episode(batch, 1, 1, model.image_size, device)
    images, present = torch.cat([query, supports.flatten(0, 2)]), torch.ones(batch, 1, dtype=torch.bool, device=device)
    floor = build_backbone(model.backbone_name).to(device)
    floor = floor.net if isinstance(floor, LitePyramid) else floor
    optimizer = model.optimizer([p for p in model.parameters() if p.requires_grad])

    def step() -> None:
        loss = model.loss(model.maps(query, supports, masks), masks[:, 0, 0], present)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.train()
    return take_turns(model, step, torch.inference_mode()(lambda: floor(images)), repeats, twins)


def measure_reading(size: int, episodes: int) -> dict:
    """Episodes a second that workers, one for each core, read from the tiny benchmark; it is made if it is missing."""
    data = TestEpisodes(Benchmark("pascal", ensure_tiny(ROOT / "data" / "tiny")), 1, 1, episodes, size)
    workers = min(8, cores())
    batches = iter(loader(data, 1, workers))
    next(batches)  # the workers have started
    started = time.perf_counter()
    count = sum(1 for _ in batches)
    return {"workers": workers, "size": size, "episodes_per_second": count / (time.perf_counter() - started)}


# How it is measured ---------------------------------------------------------------------------------------------------


def take_turns(model: Learner, run: Callable, floor: Callable, repeats: int, twins: bool = False) -> dict:
    """What a call of `run` costs, with the twins and without.

    Returns seconds; floor, the same as a multiple of `floor`; megabytes, the memory that the first call needs beyond
    what was held before; plain_seconds and saved, the seconds without twins and the share of them in % that the twins
    save; with `twins` also twins, for each the share in % that it saves of a call without it. Where no twin runs,
    plain_seconds and saved are None. All are medians over turns in which every call comes once, because a machine's
    speed drifts; the first `WARM_UP` turns do not count.
    """
    device = next(model.parameters()).device
    used = [twin for twin, methods in TWINS.items() if device.type == "cpu" and model.method in methods]
    calls = {"fast": run, "floor": floor}
    if used:
        calls["plain"] = use_plain()(run)
    if twins:
        calls |= {twin.__name__: use_plain(twin)(run) for twin in used}
    needed = find_peak(run, device)
    turns = [{name: time_call(call, device) for name, call in calls.items()} for _ in range(WARM_UP + repeats)]
    turns = turns[WARM_UP:]

    def saved(name: str) -> float:
        return 100 * statistics.median(1 - turn["fast"] / turn[name] for turn in turns)

    found = {
        "seconds": statistics.median(turn["fast"] for turn in turns),
        "floor": statistics.median(turn["fast"] / turn["floor"] for turn in turns),
        "megabytes": None if needed is None else round(needed / 2**20),
        "plain_seconds": statistics.median(turn["plain"] for turn in turns) if used else None,
        "saved": saved("plain") if used else None,
    }
    return found | ({"twins": {twin.__name__: saved(twin.__name__) for twin in used}} if twins else {})


def find_peak(run: Callable, device: torch.device | str = "cpu") -> int | None:
    """Bytes that a call needs at its peak beyond what was held before; None on a CPU where the system is not Linux."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc: give back what was freed, so that it does not count as held
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = find_memory("VmRSS")
    run()
    return find_memory("VmHWM") - before


def find_memory(what: str) -> int:
    """Bytes of this process's memory, under their name in Linux's list."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def describe_machine(device: torch.device) -> dict:
    """What the results were measured on."""
    found = {"processor": find_processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 1)  # processes that wanted a core in the last minute
    return found | {"system": platform.platform(), "python": platform.python_version(), "torch": torch.__version__}


def find_processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# The command line -----------------------------------------------------------------------------------------------------


def format_results(found: dict) -> str:
    """The results as lines of text."""
    machine, settings, read = found["machine"], found["settings"], found["reading"]
    where = f"{machine['gpu']}, " if "gpu" in machine else ""
    rows = [(f"{row['way']}-way {row['shot']}-shot", row) for row in found["evaluation"]]
    rows += [(f"step of {row['batch']}", row) for row in found["training"]]
    lines = [
        f"{where}{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, torch "
        f"{machine['torch']}, load {machine.get('load', 'unknown')}",
        f"{settings['backbone']} on {settings['device']}; medians of {TURNS * settings['repeats']} episodes, "
        f"{settings['repeats']} training steps",
        "",
        f"{'learner':<9}{'work':<14}{'seconds':>9}{'x floor':>9}{'peak MB':>9}{'plain s':>9}{'saved %':>9}",
        *(format_row(work, row) for work, row in rows),
    ]
    if any("twins" in row for _, row in rows):
        lines += format_twins(rows)
    lines += ["", f"reading: {read['episodes_per_second']:.0f} episodes/s with {read['workers']} workers"]
    return "\n".join(lines)


def format_row(work: str, row: dict) -> str:
    peak = "" if row["megabytes"] is None else row["megabytes"]
    plain = "" if row["saved"] is None else f"{row['plain_seconds']:>9.3f}{row['saved']:>9.0f}"
    return f"{row['method']:<9}{work:<14}{row['seconds']:>9.3f}{row['floor']:>9.2f}{peak:>9}{plain}".rstrip()


def format_twins(rows: list[tuple[str, dict]]) -> list[str]:
    """What each twin saves, a column each, and the most that it saves anywhere."""
    rows = [(f"{row['method']:<9}{work:<14}", row["twins"]) for work, row in rows if row["twins"]]
    names = [twin.__name__ for twin in TWINS if any(twin.__name__ in saved for _, saved in rows)]
    most = {name: max(saved[name] for _, saved in rows if name in saved) for name in names}
    return [
        "",
        "% of an episode or step that each twin saves",
        " " * 23 + "".join(f"{name:>21}" for name in names),
        *(
            (label + "".join(f"{saved[name]:>21.0f}" if name in saved else " " * 21 for name in names)).rstrip()
            for label, saved in [*rows, (f"{'at most':<23}", most)]
        ),
    ]


def build_parser() -> Parser:
    parser = Parser(
        prog="python ci/bench.py",
        description="Time every learner against its own backbone and against itself without the twins of "
        "ifsl/learners/fast; print a table and write the results as JSON.",
    )
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="default: %(default)s")
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    parser.add_argument(
        "--repeats",
        type=int,
        default=5,
        help=f"timed runs of each training step; of each episode {TURNS} times as many (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: build/bench.json")
    parser.add_argument("--quick", action="store_true", help="one way and shot, one batch size")
    parser.add_argument("--twins", action="store_true", help="also switch off one twin at a time")
    return parser


def bench(options: Namespace) -> int:
    """Measure, write after every result, print; returns the exit status."""
    if options.repeats < 1:
        raise InputError(f"--repeats is {options.repeats}; give a whole number from 1.")
    if options.out == OUT:
        OUT.parent.mkdir(exist_ok=True)
    if not options.out.parent.is_dir() or options.out.is_dir():
        raise InputError(f"--out is {options.out}; give a file in an existing folder.")
    device = find_device(options.device)
    found = None
    try:
        for found in measure(options.backbone, device, options.repeats, options.quick, options.twins):
            write_whole(options.out, json.dumps(found, indent=1) + "\n")
    except KeyboardInterrupt:
        so_far = f"{options.out} holds the results so far." if found else "Nothing has been measured yet."
        raise KeyboardInterrupt(so_far) from None
    print(format_results(found), options.out, sep="\n")
    return 0


def find_device(name: str | None) -> torch.device:
    """The device of that name, by default a GPU if there is one; raises `InputError` for one that does not exist."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    known = kind in ("cpu", "cuda") and (not number or number.isdigit())
    gpus = torch.cuda.device_count()
    if not known or kind == "cuda" and int(number or 0) >= gpus or kind == "cpu" and number:
        raise InputError(f"--device is {name}; this machine has cpu{''.join(f', cuda:{i}' for i in range(gpus))}.")
    return torch.device(name)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for what cannot be used, 130 after Ctrl-C."""
    return run_command(build_parser(), bench, arguments)


if __name__ == "__main__":
    sys.exit(main())
