"""Evaluation: figures that do not depend on batches, and what is written."""

import csv
import json

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from torch import nn

from ifsl.errors import InputError
from ifsl.learners import Learner
from ifsl.learners.maps import merge_shots
from ifsl.run.evaluation import Result, evaluate

KEPT = REPOSITORY / "data" / "checkpoints" / "tiny"


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


DAMAGES = {
    "er is '73'": lambda saved: saved.update(er="73"),
    "er is 73": lambda saved: saved["settings"].update(task="fs-s"),
    "miou is nan": lambda saved: saved.update(miou=float("nan")),
    "fb_iou is None": lambda saved: saved.update(fb_iou=None),
    "iou_per_class is": lambda saved: saved.update(iou_per_class={}),
    "class_names is": lambda saved: saved.update(class_names={"9": "star"}),
    "counts is": lambda saved: saved["counts"][0].update({"0": [5, 3]}),
    "exact is": lambda saved: saved["exact"].pop(),
    "versions is 3": lambda saved: saved.update(versions=3),
    "no attribute": lambda saved: saved.update(settings=[]),
    "episodes is 7": lambda saved: saved["settings"].update(episodes=7),
    "fold is 4": lambda saved: saved["settings"].update(fold=4),
    "benchmark is 'imagenet'": lambda saved: saved["settings"].update(benchmark="imagenet"),
    "supervision is None": lambda saved: saved["settings"].pop("supervision"),
    "trained is 'yes'": lambda saved: saved["settings"].update(trained="yes"),
    "no most_ways": lambda saved: saved["settings"].update(augment="full", most_ways=None),
}
"""What the answer says: how a saved result is damaged."""


@pytest.mark.parametrize("said", DAMAGES)
def test_a_damaged_result_is_one_sentence(said, tmp_path):
    saved = json.loads((KEPT / "panet.json").read_text())
    DAMAGES[said](saved)
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(saved))
    with pytest.raises(InputError, match=f"edited.json holds no result of an evaluation .*{said}"):
        Result.load(path)


def test_results_of_older_versions_are_read(tmp_path):
    kept = [path for path in KEPT.glob("*.json") if '"counts"' in path.read_text()]
    assert len(kept) > 20 and all(Result.load(path).table() for path in kept)
    saved = json.loads((KEPT / "asnet.json").read_text())
    for name in ("trained", "sha256", "seen_classes", "augment", "most_ways", "objects", "data"):
        del saved["settings"][name]
    (tmp_path / "old.json").write_text(json.dumps(saved))
    assert Result.load(tmp_path / "old.json").table()


def test_void_ignore_changes_the_figure_and_says_so(bench):
    kept, left = (evaluate(Threshold(), bench, 1, 1, 5, void_ignore=v, progress=False) for v in (False, True))
    assert kept.miou != left.miou and "left out" in left.table()


def test_a_learner_stays_where_it_is_if_it_does_not_fit_a_device(bench, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA out of memory")

    model = Threshold().train()
    monkeypatch.setattr(model, "eval", fail)
    moves = []
    monkeypatch.setattr(model, "to", lambda device: moves.append(str(device)) or model)
    with pytest.raises(InputError, match="memory of the GPU"):
        evaluate(model, bench, episodes=1, workers=0, progress=False)
    assert len(moves) == 2 and moves[-1] == "cpu" and model.training


@pytest.mark.parametrize("options", [dict(episodes=0), dict(batch=0), dict(way=6), dict(shot=500), dict(workers=-1)])
def test_impossible_options(bench, options):
    with pytest.raises(InputError):
        evaluate(Threshold(), bench, progress=False, **options)
