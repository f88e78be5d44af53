"""Train the two weak ASNets of chapter 15 and keep them: one norm over all query cells, or one for each cell.

    python ci/flat_map.py

Both learners compare layer4 alone, begin with the same random numbers and see the same episodes with class tags alone,
first of the easy version of the tiny benchmark (one look per class), then of the benchmark itself. What is kept is the
last step of a rate that falls to 0. An interrupted run begins again, but the features are kept in build/flat-map.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file

from ifsl import Benchmark
from ifsl.course.flat_map import build_one_level
from ifsl.data.loading import EpochSampler, TrainEpisodes
from ifsl.learners.correlation import correlation_pyramid, normalize
from ifsl.learners.maps import weak_loss
from ifsl.run.evaluation import evaluate
from ifsl.tiny import ensure_tiny

KEPT, FEATURES = Path("data/checkpoints/flat-map"), Path("build/flat-map")
PARTS = {"data/tiny-easy": 300, "data/tiny": 200}
"""Benchmark folder: training steps on it."""
TRAINING, TESTS, BATCH, RATE = 480, 300, 8, 1e-3
"""Training episodes of each benchmark, test episodes, episodes in a step, and the learning rate at first."""


def read_correlations(root: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer4 correlations (episodes, L, 9, 9, 9, 9) of training episodes, and whether their query has the class."""
    kept = FEATURES / f"{Path(root).name}.pt"
    if not kept.is_file():
        ensure_tiny(root, easy=root.endswith("easy"))
        model, trn = build_one_level("all cells"), Benchmark("pascal", root, fold=0, split="trn")
        episodes = TrainEpisodes(trn, way=1, shot=1, size=model.image_size)
        found = []
        with torch.no_grad():
            for address in islice(EpochSampler(len(episodes), seed=0), TRAINING):
                ep = episodes[address]
                images = torch.cat([ep.query[None], ep.supports[0]])
                level = normalize(model.backbone.pyramid(images)[-1:])[0]
                (corr,) = correlation_pyramid([[x[:1] for x in level]], [[x[1:] for x in level]])
                found.append((corr[0], ep.presence[0]))
        FEATURES.mkdir(parents=True, exist_ok=True)
        torch.save([torch.stack(part) for part in zip(*found, strict=True)], kept)
    return tuple(torch.load(kept))


def draw_batches(steps: int) -> Iterator[torch.Tensor]:
    """The episodes of each step, every episode once before any is seen again."""
    source = torch.Generator().manual_seed(1)
    order = [torch.randperm(TRAINING, generator=source) for _ in range(steps * BATCH // TRAINING + 1)]
    return islice(torch.cat(order).split(BATCH), steps)


def train(norm: str) -> None:
    """Train and test one learner, and keep its weights, its curve and its result."""
    name = norm.replace(" ", "-")
    torch.manual_seed(0)
    model = build_one_level(norm)
    optimizer = torch.optim.Adam(model.learner.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, sum(PARTS.values()))
    everywhere, losses = torch.ones(BATCH, model.image_size, model.image_size), []
    for root, steps in PARTS.items():
        correlations, presence = read_correlations(root)
        for step, batch in enumerate(draw_batches(steps), start=1):
            log_prob = model.learner([correlations[batch]], everywhere).log_softmax(dim=1)
            loss = weak_loss(log_prob[:, None], presence[batch, None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if step % 25 == 0:
                print(f"{norm}, {root}, step {step}: loss {sum(losses[-25:]) / 25:.3f}", flush=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    save_file(model.learner.state_dict(), KEPT / f"{name}.safetensors")
    with open(KEPT / f"{name}-curve.csv", "w", newline="") as file:
        csv.writer(file).writerows([("step", "loss"), *((i, f"{x:.4f}") for i, x in enumerate(losses, start=1))])
    evaluate(model.eval(), Benchmark("pascal", root, fold=0), episodes=TESTS, weak=True).save(KEPT, name)


if __name__ == "__main__":
    for norm in ("all cells", "each cell"):
        train(norm)
