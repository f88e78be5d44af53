"""Weights and inputs that anyone can make again, and the published numbers that were made with them.

The weights come from each parameter's own name and the pictures from closed formulas, so nothing is downloaded. The
files with the published implementation's answers lie in a folder beside the repository (`FOLDER`); tests that need them
skip where it is absent. A few of the numbers are repeated in the tests, so that something is compared everywhere.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden"
SIZE = (333, 500)
"""Height and width of the picture that the golden segmentations are for."""


def fill_by_name(module: nn.Module) -> nn.Module:
    """Give every parameter and buffer values drawn from a stream that its name seeds."""
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        stream, shape = np.random.RandomState(zlib.crc32(name.encode())), tuple(tensor.shape)
        if name.endswith("running_var"):
            values = stream.uniform(0.5, 1.5, shape)
        elif name.endswith("running_mean"):
            values = stream.normal(0.0, 0.1, shape)
        elif tensor.dim() >= 2:
            values = stream.normal(0.0, np.sqrt(2.0 / tensor[0].numel()), shape)
        elif name.endswith("weight"):
            values = stream.uniform(0.5, 1.0, shape)
        else:
            values = stream.normal(0.0, 0.1, shape)
        tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))  # state_dict() shares storage
    return module


def shift_background(module: nn.Module, amount: float) -> nn.Module:
    """Raise the background's logit in HSNet's or ASNet's decoder, so that some classes come out absent."""
    module.state_dict()["learner.decoder2.2.bias"][0] += amount
    return module


def pattern(seed: int, size: int) -> np.ndarray:
    """Twelve coloured plane waves: (3, size, size) float32."""
    stream = np.random.RandomState(seed)
    rows, columns = np.mgrid[:size, :size] / size
    picture = np.zeros((3, size, size))
    for _ in range(12):
        across, down = stream.uniform(-9, 9, 2)
        phase, colour = stream.uniform(0, 2 * np.pi), stream.normal(0, 1, 3)
        picture += colour[:, None, None] * np.cos(2 * np.pi * (across * columns + down * rows) + phase)
    return (picture / np.sqrt(12 / 2)).astype(np.float32)


def ellipse(seed: int, size: int) -> np.ndarray:
    """A filled ellipse: (size, size) float32 of 0 and 1."""
    stream = np.random.RandomState(seed)
    (cx, cy), (rx, ry) = stream.uniform(0.35, 0.65, 2), stream.uniform(0.15, 0.35, 2)
    rows, columns = np.mgrid[:size, :size] / size
    return (((columns - cx) / rx) ** 2 + ((rows - cy) / ry) ** 2 < 1).astype(np.float32)


def episode(way: int, shot: int, seed: int = 0, size: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """query (1, 3, S, S), supports (1, N, K, 3, S, S), masks (1, N, K, S, S); the query shows the first class."""
    inside = ellipse(2000 + seed, size)
    query = inside * pattern(3000 + seed, size) + (1 - inside) * pattern(1000 + seed, size)
    supports = np.zeros((1, way, shot, 3, size, size), np.float32)
    masks = np.zeros((1, way, shot, size, size), np.float32)
    for n, k in np.ndindex(way, shot):
        number = 100 * seed + 10 * n + k
        mask = ellipse(4000 + number, size)
        supports[0, n, k] = mask * pattern(3000 + seed + n, size) + (1 - mask) * pattern(5000 + number, size)
        masks[0, n, k] = mask
    return torch.from_numpy(query[None].astype(np.float32)), torch.from_numpy(supports), torch.from_numpy(masks)


def batch(*episodes: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Episodes of equal way, shot and size as one batch."""
    return tuple(torch.cat(tensors) for tensors in zip(*episodes, strict=True))


@dataclass(frozen=True)
class Case:
    """A golden file, and what its name says."""

    path: Path
    method: str
    way: int
    shot: int
    backbone: str
    weak: bool
    seed: int
    shift: float
    published_prior: bool

    def model(self) -> nn.Module:
        """The learner with the weights that the file was made with."""
        from ifsl.learners import build_model

        options = {"published_prior": True} if self.published_prior else {}
        model = fill_by_name(build_model(self.method, self.backbone, **options)).eval()
        return shift_background(model, self.shift) if self.shift else model

    def episode(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The input that the file was made with."""
        query, supports, masks = episode(self.way, self.shot, self.seed)
        return query, supports, None if self.weak else masks


NAME = re.compile(r"(\w+)-(\d)way-(\d)shot-(\w+?)(-weak)?-seed(\d+)(?:-shift([\d.]+))?(-published)?")


def case(path: Path) -> Case:
    method, way, shot, backbone, weak, seed, amount, published = NAME.fullmatch(path.stem).groups()
    shift = float(amount or 0)
    return Case(path, method, int(way), int(shot), backbone, bool(weak), int(seed), shift, bool(published))


def cases(method: str) -> list:
    """The golden files of a method as pytest parameters; one that skips where there is no folder."""
    found = [pytest.param(case(path), id=path.stem) for path in sorted(FOLDER.glob(f"{method}-*.npz"))]
    return found or [pytest.param(None, id="none", marks=pytest.mark.skip(f"no golden files in {FOLDER}"))]


def check(case: Case, tolerance: float = 1e-4) -> None:
    """Compare a learner with a golden file: maps within `tolerance`, presence equal, 99.9 % of the pixels equal."""
    expected, model = np.load(case.path), case.model()
    query, supports, masks = case.episode()
    # where a learner runs shot by shot, the file has the first shot's maps
    first = slice(None) if case.method in ("panet", "pfenet") else slice(1)
    maps = model.class_log_prob if case.method == "panet" else model
    with torch.inference_mode():
        log_prob = maps(query, supports[:, :, first], None if masks is None else masks[:, :, first])
    presence, (segmentation,) = model.predict(query, supports, masks, [SIZE])
    np.testing.assert_allclose(log_prob.numpy(), expected["log_prob"], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(presence.numpy().astype(bool), expected["pred_cls"].astype(bool))
    assert (segmentation.numpy() == expected["pred_seg"][0]).mean() >= 0.999


def published_shapes(method: str, backbone: str = "resnet50") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a published checkpoint."""
    path = FOLDER / f"{method}-{backbone}.state_dict.txt"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    rows = (line.split() for line in path.read_text().splitlines() if line.strip())
    return {name: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for name, shape in rows}
