"""Correlation pyramids: cosines, their order and layout, several supports to a query."""

import pytest
import torch

from ifsl.learners.correlation import correlate, correlation_pyramid, normalize

DRAW = torch.Generator().manual_seed(0)


def features(images: int, channels: int, h: int, w: int):
    return torch.randn(images, channels, h, w, generator=DRAW)


def naive(query, support):
    """Cosine of two cells at a time, by the definition: 1e-5 is added to each length, negatives become 0."""
    found = torch.zeros(*query.shape[1:], *support.shape[1:])
    for i, j, k, m in torch.cartesian_prod(*map(torch.arange, (*query.shape[1:], *support.shape[1:]))).tolist():
        q, s = query[:, i, j], support[:, k, m]
        found[i, j, k, m] = (q @ s / ((q.norm() + 1e-5) * (s.norm() + 1e-5))).clamp(min=0)
    return found


def test_correlations_are_clamped_cosines():
    query, support = features(1, 6, 3, 4), features(1, 6, 2, 5)
    [[q]], [[s]] = normalize([[query]]), normalize([[support]])
    found = correlate(q, s)
    assert found.shape == (1, 3, 4, 2, 5)
    torch.testing.assert_close(found[0], naive(query[0], support[0]))
    assert (found == 0).any() and (found > 0).any()


@pytest.mark.parametrize("way", ["double", "gradient"])
def test_other_precision_and_gradients_change_no_cosine(way):
    [[q]], [[s]] = normalize([[features(1, 6, 3, 4)]]), normalize([[features(1, 6, 2, 5)]])
    other = correlate(q.double(), s.double()) if way == "double" else correlate(q.clone().requires_grad_(), s)
    assert other.requires_grad == (way == "gradient")
    torch.testing.assert_close(other.float(), correlate(q, s))


def test_a_cell_of_zeros_is_like_nothing():
    query, support = features(1, 6, 2, 2), features(1, 6, 2, 2)
    query[..., 0, 0] = 0
    [[q]], [[s]] = normalize([[query]]), normalize([[support]])
    found = correlate(q, s)
    assert torch.isfinite(found).all() and not found[0, 0, 0].any()


def test_each_query_meets_its_own_supports_in_their_order():
    query, support = features(2, 6, 2, 3), features(6, 6, 3, 2)  # B = 2, N = 3
    [found] = correlation_pyramid([[query]], [[support]])
    alone = [correlate(query[[g // 3]], support[[g]]) for g in range(6)]
    torch.testing.assert_close(found[:, 0], torch.cat(alone))
    torch.testing.assert_close(correlate(query, support), torch.cat(alone))


def test_a_level_stacks_its_bottlenecks_in_order():
    sides, depths, channels = (6, 3, 2), (2, 3, 1), (4, 5, 6)
    levels = [(depth, (c, side, side)) for depth, c, side in zip(depths, channels, sides, strict=True)]
    query = normalize([[features(1, *shape) for _ in range(depth)] for depth, shape in levels])
    support = normalize([[features(2, *shape) for _ in range(depth)] for depth, shape in levels])
    found = correlation_pyramid(query, support)
    assert [tuple(x.shape) for x in found] == [(2, d, s, s, s, s) for d, s in zip(depths, sides, strict=True)]
    for level, (q, s) in zip(found, zip(query, support, strict=True), strict=True):
        for position in range(level.shape[1]):
            for g in range(2):
                torch.testing.assert_close(level[g, position], correlate(q[position], s[position][[g]])[0])


def test_no_feature_changes():
    query, support = features(1, 6, 2, 2), features(1, 6, 2, 2)
    before = query.clone(), support.clone()
    correlation_pyramid(normalize([[query]]), normalize([[support]]))
    assert torch.equal(query, before[0]) and torch.equal(support, before[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cosine_of_a_picture_with_itself_is_one_on_the_diagonal(dtype):
    [[x]] = normalize([[features(1, 16, 4, 4).to(dtype)]])
    found = correlate(x, x).reshape(16, 16)
    torch.testing.assert_close(found.diagonal(), torch.ones(16, dtype=dtype), rtol=0, atol=1e-4)
    torch.testing.assert_close(found, found.T)
