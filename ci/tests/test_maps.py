"""Maps to presence, segmentation and losses."""

import math

import pytest
import torch
import torch.nn.functional as F

from ifsl.learners.maps import VOID, find_present, merge_classes, merge_shots, segment, strong_loss, weak_loss


def random_maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).log_softmax(dim=-3)


def test_presence_is_one_cell_at_one_half():
    maps = torch.tensor([0.3, 0.7]).log()[None, None, :, None, None].expand(1, 2, 2, 4, 4).clone()
    assert find_present(maps.flip(2)).tolist() == [[False, False]]
    maps = maps.flip(2)
    maps[0, 1, :, 2, 3] = math.log(0.5)
    assert find_present(maps).tolist() == [[False, True]]


def test_stack_averages_the_backgrounds():
    maps = random_maps(2, 3, 2, 5, 5)
    merged = merge_classes(maps)
    assert merged.shape == (2, 4, 5, 5)
    torch.testing.assert_close(merged[:, 0], (maps[:, 0, 0] + maps[:, 1, 0] + maps[:, 2, 0]) / 3)
    torch.testing.assert_close(merged[:, 2], maps[:, 1, 1])


def test_presence_is_a_vote_and_a_tie_counts():
    yes, no = (torch.tensor(p).log()[:, None, None].expand(2, 4, 4) for p in ([0.4, 0.6], [0.9, 0.1]))
    shots = torch.stack([torch.stack([yes, no]), torch.stack([no, no])])[None]  # (1, N, K, 2, h, w)
    found = merge_shots(shots)
    assert found.presence.tolist() == [[True, False]]
    # The merged map of way 1 alone would say no: presence is never read off it.
    assert find_present(found.log_prob).tolist() == [[False, False]]
    assert merge_shots(torch.stack([yes, no, no])[None, None]).presence.tolist() == [[False]]


def test_segment_upsamples_with_aligned_corners():
    maps = random_maps(1, 3, 6, 6).squeeze(0)[None]
    masks = segment(maps, [(33, 50)])
    expected = F.interpolate(maps, (33, 50), mode="bilinear", align_corners=True).argmax(1)[0]
    assert masks[0].dtype == torch.uint8 and masks[0].shape == (33, 50)
    assert torch.equal(masks[0].long(), expected)


def test_permuting_ways_permutes_the_answer():
    maps = random_maps(1, 3, 2, 2, 8, 8)
    order = [2, 0, 1]
    one, other = merge_shots(maps), merge_shots(maps[:, order])
    assert torch.equal(one.presence[:, order], other.presence)
    masks = segment(one.stacked, [(20, 30)])[0]
    permuted = segment(other.stacked, [(20, 30)])[0]
    back = torch.tensor([0, *(1 + order[n] for n in range(3))])
    assert (back[permuted.long()] == masks).float().mean() > 0.999


def test_losses():
    maps = random_maps(2, 1, 2, 4, 4)
    mask = torch.randint(0, 2, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    by_hand = -torch.stack(
        [merge_classes(maps)[b, mask[b, i, j], i, j] for b in range(2) for i in range(4) for j in range(4)]
    )
    torch.testing.assert_close(strong_loss(merge_classes(maps), mask), by_hand.mean())
    mask[0] = VOID
    torch.testing.assert_close(strong_loss(merge_classes(maps), mask), by_hand[16:].mean())
    present = torch.tensor([[True], [False]])
    expected = -(maps[0, 0, 1].mean() + maps[1, 0, 0].mean()) / 2
    torch.testing.assert_close(weak_loss(maps, present), expected)


def test_sizes_must_match():
    with pytest.raises(ValueError):
        segment(random_maps(2, 3, 4, 4), [(5, 5)])
