"""What chapter 12 measures: what an episode costs each learner, as a multiple of the backbone alone.

Letters: B episodes, N ways, K shots, S image side.
"""

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..learners import Learner, build_model
from ..learners.backbones import LitePyramid, build_backbone
from ..run.devices import time_call

TITLES = {
    "panet": "PANet",
    "pfenet": "PFENet",
    "hsnet": "HSNet",
    "asnet": "ASNet",
    "asnethm": "HM",
    "cst": "CST",
    "emat": "EMAT",
}
"""The learners' names as the papers write them, by method."""
WARM_UP = 2
"""Runs before the timed ones; after them the process holds the memory that it goes on using."""


def measure_costs(
    methods: Sequence[str] = tuple(TITLES),
    backbone: str = "efficientnet_lite0",
    way: int = 1,
    shot: int = 1,
    repeats: int = 5,
) -> list[dict]:
    """What an episode costs each learner, evaluated one episode at a time on the CPU.

    Returns a dict for each method: method; trained, the number of parameters that training changes; seconds an episode;
    floor, the same as a multiple of one plain forward pass of the backbone over query and supports, which is the same
    for all learners. Both are medians over `repeats` runs, in which learner and backbone take turns. Weights and images
    are random; a quarter of each support image is inside the mask. Raises `InputError` for an unknown method or
    backbone.
    """
    return [measure_cost(method, backbone, way, shot, repeats) for method in methods]


def measure_cost(method: str, backbone: str, way: int, shot: int, repeats: int) -> dict:
    """`measure_costs` of one learner."""
    model = random_model(method, backbone)
    episode = random_episode(1, way, shot, model.image_size)
    images, plain = torch.cat([episode[0], episode[1].flatten(0, 2)]), bare_backbone(backbone)
    with torch.inference_mode():
        seconds, floor = time_in_turn(lambda: model.maps(*episode), lambda: plain(images), repeats)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"method": method, "trained": trained, "seconds": seconds, "floor": floor}


def random_model(method: str, backbone: str) -> Learner:
    """A learner with random weights, the same on every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(method, backbone)


def random_episode(
    batch: int, way: int, shot: int, size: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """query (B, 3, S, S), supports (B, N, K, 3, S, S) and masks (B, N, K, S, S), each a disc on a quarter of its image.

    The masks matter: HSNet compares nothing outside them, and ASNet and HM attend to nothing there.
    """
    source = torch.Generator().manual_seed(0)
    images = torch.randn(batch, way * shot + 1, 3, size, size, generator=source).to(device)
    along = torch.linspace(-0.5, 0.5, size, device=device).square()
    disc = (torch.pi * (along + along[:, None]) < 0.25).float()
    supports = images[:, 1:].unflatten(1, (way, shot))
    return images[:, 0], supports, disc.expand(batch, way, shot, size, size)


def episode_images(model: Learner, query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
    """The images (M, 3, S, S) of an episode that a learner's backbone has to see: HM's sees each support twice."""
    supports, masks = supports.flatten(0, 2), masks.flatten(0, 2)
    masked = [supports * masks[:, None]] if model.method == "asnethm" else []
    return torch.cat([query, supports, *masked])


def plain_backbone(model: Learner) -> nn.Module:
    """A learner's backbone as its authors wrote it, classification head included; PFENet has its own."""
    if model.method == "pfenet":
        return nn.Sequential(*model.frozen_modules())
    return unwrap(model.backbone)


def bare_backbone(name: str) -> nn.Module:
    """A backbone of that name as its authors wrote it, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return unwrap(build_backbone(name))


def unwrap(backbone: nn.Module) -> nn.Module:
    """A backbone's own network, without what makes a pyramid of it."""
    return backbone.net if isinstance(backbone, LitePyramid) else backbone


def time_in_turn(
    run: Callable[[], object], floor: Callable[[], object], repeats: int, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """Median seconds of `run`, and the median of its multiples of `floor`.

    The two are called in turn, because a machine's speed drifts; the first `WARM_UP` turns do not count.
    """
    pairs = [(time_call(run, device), time_call(floor, device)) for _ in range(WARM_UP + repeats)][WARM_UP:]
    return statistics.median(a for a, _ in pairs), statistics.median(a / b for a, b in pairs)
