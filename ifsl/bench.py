"""How fast the learners are, measured against their own backbones.

The yardstick is the floor: one plain forward pass of the backbone over the images that an episode has, N·K + 1 of them.
An episode cannot take less, and all above it is the learner. HM's floor counts the masked support images too, PFENet's
is its own backbone, which keeps a finer grid.

Letters: N ways, K shots, S image side.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .backbones import LitePyramid
from .learners import METHODS, Learner, build_model


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
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(method, backbone)
        episode = random_episode(1, way, shot, model.image_size)
        run, floor = learner_and_floor(model, episode)
        found = take_turns(run, floor, repeats)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        rows.append({"method": method, "trained": trained, "seconds": found[0], "floor": found[1]})
    return rows


def random_episode(batch: int, way: int, shot: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """query (B, 3, S, S), supports (B, N, K, 3, S, S) and masks (B, N, K, S, S), each a disc on a quarter of its image.

    The masks matter: ASNet and HM attend to nothing but the cells inside.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(batch, way * shot + 1, 3, size, size, generator=draw)
    along = torch.linspace(-0.5, 0.5, size).square()
    disc = (torch.pi * (along + along[:, None]) < 0.25).float()
    supports = images[:, 1:].unflatten(1, (way, shot))
    return images[:, 0], supports, disc.expand(batch, way, shot, size, size)


def learner_and_floor(model: Learner, episode: tuple[Tensor, ...]) -> tuple[Callable, Callable]:
    """Two things to time: the learner on the episode, and its plain backbone on as many images."""
    query, supports, masks = episode
    images = torch.cat([query, supports.flatten(0, 2)])
    if model.method == "asnethm":
        images = torch.cat([images, supports.flatten(0, 2)])
    backbone = plain_backbone(model)
    return lambda: model.maps(query, supports, masks), lambda: backbone(images)


def plain_backbone(model: Learner) -> nn.Module:
    """The learner's backbone as its authors wrote it, classification head and all; PFENet has its own."""
    if model.method == "pfenet":
        return nn.Sequential(*model.frozen_modules())
    return model.backbone.net if isinstance(model.backbone, LitePyramid) else model.backbone


@torch.inference_mode()
def take_turns(run: Callable, floor: Callable, repeats: int) -> tuple[float, float]:
    """Median seconds of `run`, and the median of its multiples of `floor`; a first turn of each is not counted."""
    pairs = [(seconds(run), seconds(floor)) for _ in range(repeats + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)


def seconds(run: Callable) -> float:
    """How long a call takes, to the end of all that it started on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
