"""PANet: published numbers, prototypes, what it says of several classes, what it trains."""

import golden
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifsl.errors import InputError
from ifsl.learners import build_model
from ifsl.learners.panet import average


@pytest.fixture(scope="module")
def model():
    return golden.fill_by_name(build_model("panet", "resnet50")).eval()


@pytest.mark.parametrize("case", golden.cases("panet"))
def test_agrees_with_the_published_system(case):
    golden.check(case)


def test_published_numbers_wherever_the_tests_run(model):
    with torch.inference_mode():
        log_prob = model.class_log_prob(*golden.episode(1, 1))
    assert log_prob.shape == (1, 2, 13, 13)
    cells = log_prob[0].flatten(1)[:, ::28]
    expected = [
        [-0.50321, -0.67225, -0.74126, -0.72689, -0.71117, -0.71776, -0.44360],
        [-0.92782, -0.71449, -0.64724, -0.66050, -0.67545, -0.66913, -1.02644],
    ]
    np.testing.assert_allclose(cells.numpy(), expected, rtol=0, atol=1e-4)


def test_published_names_and_shapes(model):
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == golden.published_shapes("panet")


def test_prototypes_are_means_over_cells_of_all_shots():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(2, 2, 3, 4, 5, 5, generator=draw)  # B, N, K, C, h, w
    masks = torch.rand(2, 2, 3, 5, 5, generator=draw).sub(0.4).clamp(min=0)
    found = average(features, masks)
    for b in range(2):
        cells = features[b].movedim(2, -1)  # N, K, h, w, C
        expected = torch.stack([cells[masks[b] == 0].mean(0), *(cells[n][masks[b, n] > 0].mean(0) for n in range(2))])
        torch.testing.assert_close(found[b], expected, rtol=1e-4, atol=1e-5)


def test_a_mask_without_background_or_without_object_gives_numbers():
    features = torch.randn(1, 2, 1, 4, 5, 5)
    masks = torch.stack([torch.ones(5, 5), torch.zeros(5, 5)])[None, :, None]
    assert torch.isfinite(average(features, masks)).all()
    assert torch.isfinite(average(features, torch.ones_like(masks))).all()


def test_presence_of_each_class_is_against_the_background_alone(model):
    query, supports, masks = golden.episode(3, 2, seed=1, size=96)
    with torch.inference_mode():
        classes = model.class_log_prob(query, supports, masks)
        found = model.maps(query, supports, masks)
    assert classes.shape == (1, 4, 3, 3)
    torch.testing.assert_close(classes.exp().sum(1), torch.ones(1, 3, 3))
    torch.testing.assert_close(found.stacked, classes)
    for n in range(3):
        pair = classes[:, [0, n + 1]].log_softmax(dim=1)  # the softmax of two of the logits
        torch.testing.assert_close(found.log_prob[:, n], pair)
        assert found.presence[0, n] == (pair[0, 1].exp().max() >= 0.5)


def test_a_class_can_be_absent(model):
    """Features along axes: background 0, class 1, class 2; the query shows background and class 1."""
    axes = torch.eye(3)[..., None, None]  # 3 pictures of C = 3 channels, h = w = 1
    query = torch.cat([axes[:1], axes[1:2] + 0.1 * axes[:1]], dim=-1)  # 1, C, 1, 2
    support = torch.cat([axes[:1].expand(2, -1, -1, -1), axes[1:]], dim=-1)  # N, C, 1, 2: background, object
    masks = torch.tensor([0.0, 1.0]).expand(1, 2, 1, 1, 2)
    found = model.compare([[query]], [[support]], masks)
    assert found.presence.tolist() == [[True, False]]
    assert found.stacked.argmax(dim=1).tolist() == [[[0, 1]]]


def test_one_class_competes_with_the_background_alone(model):
    query, supports, masks = golden.episode(1, 2, seed=3, size=96)
    with torch.inference_mode():
        found = model.maps(query, supports, masks)
    torch.testing.assert_close(found.log_prob[:, 0], found.stacked)


def test_segmentation_merges_no_backgrounds(model):
    query, supports, masks = golden.episode(2, 1, seed=2, size=96)
    _, (mask,) = model.predict(query, supports, masks, [(40, 60)])
    with torch.inference_mode():
        classes = model.class_log_prob(query, supports, masks)
    assert torch.equal(mask, F.interpolate(classes, (40, 60), mode="bilinear", align_corners=True)[0].argmax(0).byte())


def test_tags_alone_are_refused_with_the_reason(model):
    query, supports, _ = golden.episode(1, 1, size=64)
    with pytest.raises(InputError, match="no background to make a prototype of"):
        model(query, supports, None)


def test_training_sees_queries_and_supports_as_two_batches():
    model = build_model("panet", "efficientnet_lite0").train()
    before = model.backbone.net.bn1.running_mean.clone()
    query, supports, masks = golden.episode(1, 1, size=64)
    model(query, supports, masks)
    assert model.backbone.net.bn1.num_batches_tracked == 2
    assert not torch.equal(model.backbone.net.bn1.running_mean, before)


def test_frozen_norm_keeps_the_statistics_and_trains_the_weights():
    draw = torch.Generator().manual_seed(0)
    query, supports = torch.randn(2, 3, 64, 64, generator=draw), torch.randn(2, 1, 1, 3, 64, 64, generator=draw)
    masks = torch.zeros(2, 1, 1, 64, 64)
    masks[..., 16:48, 16:48] = 1
    for frozen in (True, False):
        model = build_model("panet", "efficientnet_lite0", pretrained=True, frozen_norm=frozen)
        statistics = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
        in_evaluation = model(query, supports, masks)
        model.train()
        in_training = model(query, supports, masks)
        in_training.sum().backward()
        kept = all(torch.equal(value, statistics[name]) for name, value in model.named_buffers() if name in statistics)
        assert kept == torch.allclose(in_evaluation, in_training, atol=1e-4) == frozen
        assert model.backbone.net.bn1.weight.grad is not None
    with pytest.raises(InputError, match="frozen_norm is 1; give True or False"):
        build_model("panet", "efficientnet_lite0", frozen_norm=1)
