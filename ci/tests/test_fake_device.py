"""On a GPU no forward and no training step waits for the host: nothing in them depends on the values of a tensor.

Under `FakeTensorMode` tensors have shapes and a pretended device but no values, so an operation that would wait for a
value (`.item()`, `.tolist()`, `nonzero`, `unique`, boolean indexing) raises. Gradients cannot be computed on a
pretended `cuda` device where PyTorch finds no real one, so whole training steps run on the device `meta`, which has no
values either. What turns maps into masks (`predict`, `segment`) is no part of a forward.
"""

from functools import partial

import pytest
import torch
from conftest import can_pretend_a_gpu
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from ifsl.learners import LEARNERS, build_model, learner_class
from ifsl.learners.learner import check_episode

PAIRS = [
    (method, backbone)
    for method in LEARNERS
    for backbone in ("resnet50", "dino_vits8", "dinov2_vits14", "efficientnet_lite0")
    if backbone in learner_class(method).backbones
]
EPISODES = ((1, 1), (2, 2))

WAIT = {
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "bool": lambda x: bool((x > 0).any()),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "boolean index": lambda x: x[x > 0],
}
"""What waits for values, written in every way that we know of."""


@pytest.fixture
def pretended():
    """A function that gives `torch.ones` and so on the pretended device's name; within, no tensor has values."""
    if not can_pretend_a_gpu():
        pytest.skip("this PyTorch cannot pretend a GPU")
    with FakeTensorMode(), torch.device("cuda"):
        yield "cuda"


def make_episode(way: int, shot: int, side: int, device: str, batch: int = 2):
    """A batch without values: query, supports, masks."""
    ones = partial(torch.ones, device=device)
    return (
        ones(batch, 3, side, side), ones(batch, way, shot, 3, side, side), ones(batch, way, shot, side, side),
    )  # fmt: skip


def losses(model, way: int, shot: int, device: str):
    """The strong loss of a batch, and the weak one where the learner has one."""
    query, supports, masks = make_episode(way, shot, model.image_size, device)
    truth = torch.ones(len(query), *query.shape[-2:], dtype=torch.uint8, device=device)
    present = torch.ones(len(query), way, dtype=torch.bool, device=device)
    yield model.loss(model.maps(query, supports, masks), truth, present)
    if way == 1:
        yield model.loss(model.maps(query, supports, masks), truth, present, task="fs-s")
    if not model.needs_masks:
        yield model.loss(model.maps(query, supports, None), truth, present, weak=True)


@pytest.mark.parametrize("name", WAIT)
def test_what_waits_for_values_raises(pretended, name):
    """Else this file would find nothing."""
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        WAIT[name](torch.ones(3))


@pytest.mark.parametrize("name", WAIT)
def test_what_waits_for_values_raises_on_meta_too(name):
    with pytest.raises((NotImplementedError, RuntimeError), match="[Mm]eta"):
        WAIT[name](torch.ones(3, device="meta"))


def test_checks_of_values_wait(pretended):
    """They do: so they are no part of a forward on a GPU, and are made where arguments and files come in."""
    model = build_model("panet", "efficientnet_lite0")
    episode = make_episode(1, 1, 64, pretended)
    with pytest.raises(DataDependentOutputException):
        check_episode(model, *episode)
    with pytest.raises(DataDependentOutputException):
        model.predict(*episode)
    model(*episode)


@pytest.mark.parametrize("method, backbone", PAIRS)
def test_no_forward_waits(pretended, method, backbone):
    """In evaluation and in training, the losses included."""
    model = build_model(method, backbone)
    assert next(model.parameters()).device.type == "cuda"
    for way, shot in EPISODES:
        episode = make_episode(way, shot, model.image_size, pretended)
        with torch.inference_mode():
            maps = model.eval().maps(*episode)
        assert maps.log_prob.shape[:3] == (2, way, 2) and maps.presence.device.type == "cuda"
        for loss in losses(model.train(), way, shot, pretended):
            assert loss.shape == () and loss.requires_grad


def test_no_forward_with_the_published_prior_waits(pretended):
    model = build_model("pfenet", "resnet50", published_prior=True)
    for way, shot in EPISODES:
        assert model(*make_episode(way, shot, 400, pretended)).shape == (2, way, 2, 50, 50)


@pytest.mark.parametrize("method, backbone", PAIRS)
def test_no_training_step_waits(method, backbone):
    """Forward, loss, gradients and the published optimiser's step."""
    with torch.device("meta"):
        model = build_model(method, backbone).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = model.optimizer(trained)
    for way, shot in EPISODES:
        for loss in losses(model, way, shot, "meta"):
            loss.backward()
            optimizer.step()
            assert any(p.grad is not None for p in trained)
            optimizer.zero_grad()
