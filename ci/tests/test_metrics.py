"""Exact ratio and mean IoU: published values, and what must hold of them."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import can_pretend_a_gpu
from torch._subclasses import FakeTensorMode

import ifsl
from ifsl.errors import InputError
from ifsl.run.metrics import count_pixels

PUBLISHED = {  # (seed, way, episodes, first class): (mIoU, ER), the same numbers as in the golden file
    (0, 1, 40, 1): (61.3992805480957, 87.5),
    (1, 2, 40, 6): (43.94164276123047, 65.0),
    (3, 1, 3, 1): (14.19968318939209, 100.0),
}


def drawn_episodes(seed: int, way: int, episodes: int, class_ids: list[int]):
    """The predictions and truths that the published values were computed on; the order of the draws matters."""
    stream = np.random.RandomState(seed)
    for _ in range(episodes):
        height, width = stream.randint(20, 40, 2)
        classes = stream.choice(class_ids, way, replace=False)
        true = stream.randint(0, way + 1, (1, height, width))
        for n in range(1, way + 1):
            if stream.rand() < 0.5:
                true[true == n] = 0
        wrong = stream.rand(1, height, width) < 0.3
        found = np.where(wrong, stream.randint(0, way + 1, true.shape), true)
        presence = np.array([[(true == n).any() for n in range(1, way + 1)]])
        found_presence = presence ^ (stream.rand(1, way) < 0.2)
        yield [torch.from_numpy(part) for part in (found, true, found_presence, presence, classes[None])]


def measured(seed, way, episodes, class_ids):
    er, miou = ifsl.ExactRatio(way), ifsl.MeanIoU(class_ids)
    for found, true, found_presence, true_presence, classes in drawn_episodes(seed, way, episodes, class_ids):
        er.update(found_presence, true_presence)
        miou.update(found, true, classes)
    return miou.compute().item(), er.compute().item()


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_values(case):
    seed, way, episodes, first = case
    assert measured(seed, way, episodes, list(range(first, first + 5))) == pytest.approx(PUBLISHED[case], abs=1e-3)


def test_golden_file(shared):
    for key, expected in json.loads((shared / "golden" / "metrics.json").read_text()).items():
        seed, way, episodes = map(int, re.match(r"seed(\d+)-(\d+)way-(\d+)episodes", key).groups())
        values = measured(seed, way, episodes, expected["class_ids"])
        assert values == pytest.approx((expected["miou"], expected["er"]), abs=1e-3)


def test_by_hand():
    true = torch.tensor([[0, 1, 1], [0, 1, 255]])
    found = torch.tensor([[0, 1, 0], [1, 1, 1]])
    miou = ifsl.MeanIoU([4, 7])
    miou.update([found], [true], torch.tensor([[7]]))
    assert miou.iou_per_class() == {4: 0.0, 7: pytest.approx(100 * 2 / 4)}  # the void pixel is left out
    assert miou.compute().item() == pytest.approx(25)  # class 4 was never seen and counts as 0, as published


def test_batches_lists_and_parts_add_up():
    generator = torch.Generator().manual_seed(0)
    true, found = (torch.randint(0, 3, (6, 9, 7), generator=generator) for _ in range(2))
    classes = torch.tensor([[1, 2], [2, 3], [5, 1], [4, 2], [3, 4], [1, 5]])
    whole, parts = ifsl.MeanIoU([1, 2, 3, 4, 5]), ifsl.MeanIoU([1, 2, 3, 4, 5])
    whole.update(found, true, classes)
    for i in range(6):
        parts.update([found[i]], [true[i]], classes[i : i + 1])
    assert whole.compute() == parts.compute()
    whole.reset()
    whole.update(true, true, classes)
    assert whole.compute().item() == 100


def test_exact_ratio_needs_every_way():
    er = ifsl.ExactRatio(2)
    er.update(torch.tensor([[True, False], [True, True]]), torch.tensor([[True, False], [True, False]]))
    assert er.compute().item() == 50


@pytest.mark.parametrize(
    "call",
    [
        lambda: ifsl.ExactRatio(0),
        lambda: ifsl.MeanIoU([]),
        lambda: ifsl.MeanIoU([0, 1]),
        lambda: ifsl.ExactRatio(2).update(torch.ones(1, 3), torch.ones(1, 3)),
        lambda: ifsl.MeanIoU([1]).update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3), torch.tensor([[1]])),
        lambda: ifsl.MeanIoU([1]).update(torch.full((1, 2, 2), 2), torch.zeros(1, 2, 2), torch.tensor([[1]])),
        lambda: ifsl.MeanIoU([1]).update(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 2), torch.tensor([[1]])),
        lambda: ifsl.MeanIoU([1]).update(torch.zeros(1, 2, 2), torch.full((1, 2, 2), -1), torch.tensor([[1]])),
        lambda: ifsl.MeanIoU([1]).update(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.tensor([[2]])),
        lambda: ifsl.MeanIoU([1]).update(torch.zeros(2, 2, 2), torch.zeros(1, 2, 2), torch.tensor([[1]])),
    ],
)
def test_misuse(call):
    with pytest.raises(InputError):
        call()


@pytest.mark.skipif(not can_pretend_a_gpu(), reason="this PyTorch cannot pretend a GPU")
def test_on_a_gpu_nothing_waits_for_the_values():
    """A pretended device: an operation whose result depends on data would raise."""
    with FakeTensorMode():
        found, true = (torch.empty(6, 7, dtype=torch.uint8, device="cuda") for _ in range(2))
        intersection, union = count_pixels(found, true, 3)
    assert intersection.shape == union.shape == (3,) and union.device.type == "cuda"
