"""Evaluation: figures that do not depend on batches, and what is written."""

import csv
import json

import numpy as np
import pytest
import torch
from torch import nn

from ifsl.errors import InputError
from ifsl.learners import Learner
from ifsl.learners.maps import merge_shots
from ifsl.run.evaluation import Result, evaluate


class Threshold(Learner):
    """Calls bright pixels foreground: cheap, and wrong often enough."""

    method, frozen = "threshold", False

    def __init__(self):
        super().__init__("resnet50")
        self.backbone_name, self.image_size = "none", 64
        self.bias = nn.Parameter(torch.tensor(0.1))
        self.batches = []

    def encode_query(self, images):
        return images

    def encode_support(self, images, masks):
        return images

    def compare(self, query, support, masks):
        self.batches.append(len(query))
        way, shot = masks.shape[1:3]
        logit = 4 * (query.mean(1) - self.bias)[:, None, None].expand(-1, way, shot, -1, -1)
        tint = support.unflatten(0, (-1, way, shot)).mean((3, 4, 5))[..., None, None]
        return merge_shots(torch.stack([-logit, logit + tint], dim=3).log_softmax(dim=3))


def test_figures_depend_on_neither_batch_nor_workers(bench):
    model = Threshold().train()
    results = [
        evaluate(model, bench, 2, 2, 13, batch=batch, workers=workers, progress=False)
        for batch, workers in ((1, 0), (5, 0), (4, 2))
    ]
    assert model.training  # left as it was found
    assert model.batches == [1] * 13 + [5, 5, 3] + [4, 4, 4, 1]
    one = results[0]
    for other in results[1:]:
        assert (one.er, one.miou, one.iou_per_class, one.counts) == (
            other.er,
            other.miou,
            other.iou_per_class,
            other.counts,
        )
    assert 0 < one.miou < 100 and 0 <= one.er < 100


def test_figures_by_hand(bench):
    model = Threshold()
    result = evaluate(model, bench, 1, 1, 9, progress=False)
    inter, union, exact = np.zeros(21), np.zeros(21), 0
    for index in range(9):
        ep = bench.episode(index, 1, 1, 64)
        presence, masks = model.predict(ep.query[None], ep.supports[None], ep.masks[None], [ep.size])
        exact += presence[0].tolist() == ep.presence.tolist()
        c, found, true = ep.draw.classes[0], masks[0].numpy() == 1, ep.query_mask.numpy() == 1
        inter[c] += (found & true).sum()
        union[c] += (found | true).sum()
    assert result.er == pytest.approx(100 * exact / 9)
    assert result.miou == pytest.approx(100 * np.mean([inter[c] / max(union[c], 1) for c in bench.class_ids]), abs=1e-4)


def test_intervals_hold_the_figure_and_shrink(bench):
    few, many = (evaluate(Threshold(), bench, 1, 1, n, progress=False) for n in (10, 60))
    for result in (few, many):
        for name, value in (("er", result.er), ("miou", result.miou)):
            low, high = result.intervals()[name]
            assert low <= value <= high
    assert np.ptp(many.intervals()["er"]) < np.ptp(few.intervals()["er"])


def test_table_and_files(bench, tmp_path):
    result = evaluate(Threshold(), bench, 1, 1, 5, progress=False)
    assert "void pixels" in result.table() and "background, as published" in result.table()
    assert all(bench.class_names[c] in result.table() for c in bench.class_ids)
    paths = result.save(tmp_path / "deep")
    held = json.loads(paths[0].read_text())
    assert held["miou"] == result.miou and held["settings"]["episodes"] == 5 and held["versions"]["torch"]
    rows = list(csv.DictReader(paths[1].open()))
    assert {row["class"] for row in rows if row["metric"] == "IoU"} == {bench.class_names[c] for c in bench.class_ids}
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["result.csv", "result.json"]


def test_a_saved_result_is_read_again(bench, tmp_path):
    result = evaluate(Threshold(), bench, 2, 1, 6, workers=0, progress=False)
    path = result.save(tmp_path)[0]
    again = Result.load(path)
    assert '"version"' in result.settings["tiny"]
    assert again == result and again.intervals() == result.intervals() and again.table() == result.table()
    for text in ("", "[]", "{}", '{"iou_per_class": 3}', path.read_text().replace('"er"', '"error"')):
        path.write_text(text)
        with pytest.raises(InputError, match="holds no result"):
            Result.load(path)
    with pytest.raises(InputError, match="holds no result"):
        Result.load(tmp_path / "none.json")


def test_void_ignore_changes_the_figure_and_says_so(bench):
    kept, left = (evaluate(Threshold(), bench, 1, 1, 5, void_ignore=v, progress=False) for v in (False, True))
    assert kept.miou != left.miou and "left out" in left.table()


@pytest.mark.parametrize("options", [dict(episodes=0), dict(batch=0), dict(way=6), dict(shot=500), dict(workers=-1)])
def test_impossible_options(bench, options):
    with pytest.raises(InputError):
        evaluate(Threshold(), bench, progress=False, **options)
