"""Loading published and own checkpoints, and refusing what is none."""

import argparse
import json
import os
import pickle

import golden
import pytest
import torch
from safetensors.torch import save_file

import ifsl
from ifsl.errors import InputError
from ifsl.learners import LEARNERS, build_model, learner_class
from ifsl.learners.registry import PYRAMIDS
from ifsl.run.checkpoints import (
    best_checkpoint,
    identify,
    load_model,
    read_safetensors,
    save_learner,
    trained_state,
)


class RunsCode:
    """A file that says so on disk if reading it ran anything."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


class Callback:
    """Stands for a class of the code that wrote a checkpoint."""


@pytest.fixture(scope="module")
def hsnet():
    torch.manual_seed(0)
    return build_model("hsnet", "efficientnet_lite0")


@pytest.fixture(scope="module")
def tiny_asnet():
    torch.manual_seed(0)
    return build_model("asnet", "efficientnet_lite0", pretrained=True)


def lightning(model, **more):
    """What Lightning 1.3 writes: the callbacks' classes are keys, the command line is a Namespace."""
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "1.3.8",
        "state_dict": model.state_dict(),
        "callbacks": {Callback: {"best_model_score": torch.tensor(50.0)}},
        "optimizer_states": [{"state": {0: {"step": 40}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}],
        "lr_schedulers": [],
    } | more


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def refused(path, **given) -> str:
    """The one sentence that a file is refused with."""
    with pytest.raises(InputError) as caught:
        load_model(path, **given)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and message.endswith(".") and ". " not in message, message
    return message


# Published files


@pytest.mark.parametrize("method", ["panet", "pfenet", "hsnet", "asnet", "asnethm"])
def test_a_published_file_loads_as_it_is(method, tmp_path):
    """Tensors by the published names and shapes alone; HM's look like ASNet's, so it is said which."""
    draw = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=draw) for name, shape in golden.published_shapes(method).items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "best_model.ckpt")
    model = load_model(tmp_path / "best_model.ckpt", method=method, backbone="resnet50")
    assert (model.method, model.backbone_name, model.image_size, model.training) == (method, "resnet50", 400, False)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name].to(value.dtype), rtol=0, atol=0, msg=name)


PAIRS = [(m, b) for m in LEARNERS if m != "asnethm" for b in learner_class(m).backbones]


def test_all_backbones_of_all_methods_are_tried():
    pyramids = [pair for pair in PAIRS if pair[0] not in ("cst", "emat", "ematseg")]
    assert len(pyramids) == 4 * len(PYRAMIDS) - 3  # PFENet has no resnet101 and no vgg16, PANet no vgg16
    assert len(PAIRS) - len(pyramids) == 7  # cst has three backbones, the others two


@pytest.mark.parametrize("method, backbone", PAIRS)
def test_method_and_backbone_are_read_off_the_tensors(method, backbone, tmp_path):
    with torch.device("meta"):  # names and shapes without the numbers
        state = build_model(method, backbone).state_dict()
    methods, found = identify(state, tmp_path)
    assert method in methods and found == backbone
    assert len(methods) == (2 if method == "asnet" else 1)


def test_a_lightning_1_3_file_with_classes_and_a_namespace(hsnet, tmp_path):
    torch.save(lightning(hsnet, hyper_parameters=argparse.Namespace(method="hsnet", bsz=12)), tmp_path / "a.ckpt")
    model = load_model(tmp_path / "a.ckpt")
    assert same(model, hsnet)
    assert model.settings["bsz"] == 12


def test_hm_and_asnet_are_told_apart_by_settings_folder_or_whoever_asks(tmp_path):
    state = build_model("asnet", "efficientnet_lite0").state_dict()
    folder = tmp_path / "logs" / "pascal" / "fold0" / "efficientnet_lite0" / "asnethm"
    folder.mkdir(parents=True)
    path = folder / "best_model.ckpt"
    torch.save({"state_dict": state}, path)
    assert load_model(path).method == "asnethm"
    assert load_model(path, method="asnet").method == "asnet"
    (folder / "settings.json").write_text(json.dumps({"method": "asnet"}))
    assert load_model(path).method == "asnet"
    torch.save({"state_dict": state, "settings": {"method": "asnethm", "size": 304}}, path)
    model = load_model(path)
    assert (model.method, model.image_size) == ("asnethm", 304)
    assert "asnethm, not asnet;" in refused(path, method="asnet")
    torch.save({"state_dict": state}, tmp_path / "some.ckpt")
    assert "give the method" in refused(tmp_path / "some.ckpt")


def test_the_highest_version_is_the_best(tmp_path, hsnet):
    for name in ("last", "best_model", "best_model-v2", "best_model-v10", "best_model-v9", "best_model-v11.part"):
        (tmp_path / f"{name}.ckpt").write_bytes(b"")
    assert best_checkpoint(tmp_path).name == "best_model-v10.ckpt"
    (tmp_path / "best_model-v10.ckpt").unlink()
    assert best_checkpoint(tmp_path).name == "best_model-v9.ckpt"
    torch.save({"state_dict": hsnet.state_dict()}, tmp_path / "best_model-v9.ckpt")
    assert same(load_model(tmp_path), hsnet)
    for name in ("best_model-v9", "best_model-v2"):
        (tmp_path / f"{name}.ckpt").unlink()
    assert best_checkpoint(str(tmp_path)).name == "best_model.ckpt"
    (tmp_path / "best_model.ckpt").unlink()
    assert "no best_model.ckpt" in refused(tmp_path)


# What does not fit


def test_another_learner_than_asked_for(hsnet, tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(lightning(hsnet), path)
    assert "holds hsnet, not asnet;" in refused(path, method="asnet")
    assert "hsnet on efficientnet_lite0, not on resnet50;" in refused(path, backbone="resnet50")
    assert "holds hsnet, not sam;" in refused(path, method="sam")


def test_tensors_that_are_missing_unknown_or_of_other_shapes(hsnet, tmp_path):
    path, state = tmp_path / "a.ckpt", hsnet.state_dict()
    less = {name: value for name, value in state.items() if not name.startswith("learner.decoder2.2")}
    torch.save({"state_dict": less}, path)
    assert "learner.decoder2.2.bias is missing and 1 more" in refused(path)
    torch.save({"state_dict": state | {"learner.extra": torch.zeros(1)}}, path)
    assert "learner.extra is not known;" in refused(path)
    torch.save({"state_dict": state | {"learner.decoder2.2.bias": torch.zeros(3)}}, path)
    assert "learner.decoder2.2.bias has shape (3,) in place of (2,);" in refused(path)
    torch.save(
        {"state_dict": {name: value for name, value in state.items() if name != "backbone.net.bn1.weight"}}, path
    )
    assert "backbone.net.bn1.weight is missing;" in refused(path)
    torch.save({"state_dict": {"conv.weight": torch.zeros(1)}}, path)
    assert "holds no whole learner" in refused(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_weights_of_another_kind_than_floats(dtype, kind, tiny_asnet, tmp_path):
    path = save_learner(tiny_asnet, tmp_path / "a.safetensors")
    state, settings = read_safetensors(path)
    path = tmp_path / f"b.{kind}"
    state |= {name: state[name].to(dtype) for name in ["learner.decoder1.0.weight"]}
    if kind == "ckpt":
        torch.save({"state_dict": state, "settings": settings}, path)
    else:
        try:
            save_file(state, path, {"settings": json.dumps(settings)})
        except KeyError:
            pytest.skip(f"this safetensors cannot store {dtype}")
    assert f"learner.decoder1.0.weight holds {dtype}" in refused(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_kind_of_float(dtype, hsnet, tmp_path):
    torch.save({"state_dict": {name: x.to(dtype) for name, x in hsnet.state_dict().items()}}, tmp_path / "a.ckpt")
    assert next(load_model(tmp_path / "a.ckpt").parameters()).dtype == torch.float32


def test_weights_that_are_too_large_for_the_learner(hsnet, tmp_path):
    large = {"learner.decoder2.2.bias": torch.full((2,), 1e300, dtype=torch.float64)}
    torch.save({"state_dict": hsnet.state_dict() | large}, tmp_path / "a.ckpt")
    assert "infinite numbers in learner.decoder2.2.bias" in refused(tmp_path / "a.ckpt")


EXTRAORDINARY = {
    "sparse": lambda x: x.to_sparse(),
    "meta": lambda x: x.to("meta"),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch gives up quantised tensors
@pytest.mark.parametrize("kind", EXTRAORDINARY)
def test_tensors_that_are_not_ordinary(kind, hsnet, tmp_path):
    state, name = hsnet.state_dict(), "learner.decoder2.2.bias"
    torch.save({"state_dict": state | {name: EXTRAORDINARY[kind](state[name])}}, tmp_path / "a.ckpt")
    assert f"{name} is sparse, quantised or without values" in refused(tmp_path / "a.ckpt")


def test_files_that_would_run_code(hsnet, tmp_path):
    path, trace = tmp_path / "a.ckpt", tmp_path / "it-ran"
    for more in ({"hyper_parameters": RunsCode(trace)}, {"callbacks": {"a": Callback()}}, {"x": RunsCode(trace)}):
        torch.save(lightning(hsnet, **more), path)
        assert "is refused, because reading it would run" in refused(path)
    path.write_bytes(pickle.dumps({"state_dict": RunsCode(trace)}))
    refused(path)
    assert not trace.exists()


def test_broken_files_and_files_of_something_else(hsnet, tiny_asnet, tmp_path):
    torch.save(lightning(hsnet), tmp_path / "whole.ckpt")
    save_learner(tiny_asnet, tmp_path / "whole.safetensors")
    for kind in ("ckpt", "safetensors"):
        path, whole = tmp_path / f"a.{kind}", (tmp_path / f"whole.{kind}").read_bytes()
        for size in (0, 7, 1000, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            assert "broken or no checkpoint" in refused(path)
        path.write_text("not tensors at all")
        assert "broken or no checkpoint" in refused(path)
    torch.save([torch.zeros(2)], tmp_path / "a.ckpt")
    assert "broken or no checkpoint" in refused(tmp_path / "a.ckpt")
    assert "There is no checkpoint" in refused(tmp_path / "none.ckpt")


def test_paths_that_cannot_be(tiny_asnet, tmp_path):
    assert "cannot be read" in refused(tmp_path / ("y" * 300))
    with pytest.raises(InputError, match="path is ''"):
        load_model("")
    with pytest.raises(InputError, match="cannot be written"):
        save_learner(tiny_asnet, tmp_path / ("y" * 300 + ".safetensors"))
    odd = tmp_path / "asnet\udcff.safetensors"
    try:
        save_learner(tiny_asnet, odd)
    except (InputError, UnicodeError):
        pytest.skip("this file system takes no such name")
    with pytest.raises(InputError, match="cannot be written as text; rename the file"):
        load_model(odd)


# Our own


def test_a_kept_learner_is_small_and_says_the_same(tiny_asnet, tmp_path):
    tiny_asnet.image_size = 304
    settings = {"benchmark": "pascal", "fold": 0, "weak": False, "steps": 800, "size": None}
    path = save_learner(tiny_asnet, tmp_path / "new" / "asnet.safetensors", **settings)
    tiny_asnet.image_size = 272
    assert path.stat().st_size < 3e6
    model = load_model(path)
    assert (model.method, model.backbone_name, model.image_size) == ("asnet", "efficientnet_lite0", 304)
    assert model.settings.items() >= {"benchmark": "pascal", "fold": 0, "weak": False, "steps": 800}.items()
    for part, kept in ((tiny_asnet.backbone, model.backbone), (tiny_asnet.learner, model.learner)):
        for (name, value), other in zip(part.state_dict().items(), kept.state_dict().values(), strict=True):
            tolerance = {"rtol": 1e-3, "atol": 1e-6} if part is tiny_asnet.learner and value.dim() > 1 else {}
            torch.testing.assert_close(value, other, **(tolerance or {"rtol": 0, "atol": 0}), msg=name)
    episode = golden.episode(1, 1, size=272)
    with torch.inference_mode():
        torch.testing.assert_close(model(*episode), tiny_asnet(*episode), rtol=0, atol=2e-3)


def test_panet_keeps_the_backbone_that_it_trained(tmp_path):
    model = golden.fill_by_name(build_model("panet", "efficientnet_lite0")).eval()
    path = save_learner(model, tmp_path / "panet.safetensors")
    assert path.stat().st_size < 8e6
    kept, episode = load_model(path), golden.episode(1, 1, size=96)
    assert trained_state(kept).keys() == trained_state(model).keys()
    with torch.inference_mode():
        torch.testing.assert_close(kept(*episode), model(*episode), rtol=0, atol=5e-2)


def test_pfenet_keeps_its_width(tmp_path):
    model = build_model("pfenet", "efficientnet_lite0", pretrained=True, width=16)
    assert load_model(save_learner(model, tmp_path / "a.safetensors")).width == 16


def test_pfenet_keeps_its_prior_unless_told_otherwise(tmp_path):
    model = build_model("pfenet", "efficientnet_lite0", pretrained=True, width=8, published_prior=True)
    path = save_learner(model, tmp_path / "a.safetensors")
    assert load_model(path).published_prior is True
    assert load_model(path, published_prior=False).published_prior is False
    model.published_prior = False
    save_learner(model, path)
    assert load_model(path).published_prior is False
    assert load_model(path, published_prior=True).published_prior is True
    torch.save({"state_dict": model.state_dict()}, tmp_path / "a.ckpt")  # a published file says nothing about it
    assert load_model(tmp_path / "a.ckpt").published_prior is False


def test_options_that_do_not_fit_the_file(hsnet, tmp_path):
    torch.save(lightning(hsnet), tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="hsnet has no option published_prior"):
        load_model(tmp_path / "a.ckpt", published_prior=True)
    model = build_model("pfenet", "efficientnet_lite0", pretrained=True, width=8)
    path = save_learner(model, tmp_path / "b.safetensors")
    assert "holds pfenet of width 8, not 9;" in refused(path, width=9)
    assert load_model(path, width=8).width == 8


OWN = {"method": "pfenet", "backbone": "efficientnet_lite0", "size": 64}


@pytest.fixture(scope="module")
def narrow():
    """The tensors of a narrow PFENet."""
    return trained_state(build_model("pfenet", "efficientnet_lite0", pretrained=True, width=8))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        *((settings, "its settings are no dict") for settings in (None, 5, [1], True)),
        *((OWN | {"size": size}, "size is") for size in (-5, 0, True, 7, "64", [64])),
        (OWN | {"published_prior": "yes"}, "published_prior is 'yes'"),
        (OWN | {"backbone": "vgg16"}, "vgg16"),
    ],
)
def test_settings_of_our_own_that_cannot_be(settings, named, narrow, tmp_path):
    save_file(narrow, tmp_path / "a.safetensors", {"settings": json.dumps(settings)})
    assert named in refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("given", [{"method": ["pfenet"]}, {"backbone": ["efficientnet_lite0"]}, {"method": {}}])
def test_where_the_settings_name_no_learner_its_tensors_do(given, narrow, tmp_path):
    save_file(narrow, tmp_path / "a.safetensors", {"settings": json.dumps(OWN | given)})
    assert load_model(tmp_path / "a.safetensors").width == 8


@pytest.mark.parametrize("weight", [{}, {"down_qry.0.weight": torch.tensor(1.0)}, None])
def test_a_pfenet_without_its_first_tensor(weight, narrow, tmp_path):
    state = {} if weight is None else {n: x for n, x in narrow.items() if n != "down_qry.0.weight"} | weight
    save_file(state, tmp_path / "a.safetensors", {"settings": json.dumps(OWN)})
    assert "does not fit pfenet" in refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("value", [b"x", {1}, argparse.Namespace(a=1), torch.tensor(3), [torch.tensor(3)]])
def test_what_a_result_cannot_keep_is_not_read(value, hsnet, tmp_path):
    more = {"hyper_parameters": {"benchmark": "pascal", "seed": value}, "global_step": value}
    torch.save(lightning(hsnet, **more), tmp_path / "a.ckpt")
    settings = load_model(tmp_path / "a.ckpt").settings
    assert settings["benchmark"] == "pascal" and "seed" not in settings and "step" not in settings


def test_values_that_half_precision_cannot_hold_are_kept_whole(tiny_asnet, tmp_path):
    weight = tiny_asnet.learner.decoder1[0].weight
    old = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(1e6)
        kept = load_model(save_learner(tiny_asnet, tmp_path / "a.safetensors"))
        weight.copy_(old)
    assert (kept.learner.decoder1[0].weight == 1e6).all()


def test_a_learner_of_another_backbone_is_not_passed_off_as_one_of_imagenets(tmp_path):
    torch.manual_seed(0)
    path = save_learner(build_model("asnet", "efficientnet_lite0", pretrained=False), tmp_path / "a.safetensors")
    assert "other weights of efficientnet_lite0 than ImageNet's" in refused(path)


def test_our_training_writes_no_frozen_backbone_and_it_comes_back(tiny_asnet, tmp_path):
    settings = {"method": "asnet", "backbone": "efficientnet_lite0", "size": 288, "weak": True}
    torch.save({"state_dict": trained_state(tiny_asnet), "settings": settings}, tmp_path / "best_model.ckpt")
    model = load_model(tmp_path)
    assert same(model, tiny_asnet)
    assert model.image_size == 288 and model.settings["weak"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tiny_asnet, tmp_path, monkeypatch):
    path = save_learner(tiny_asnet, tmp_path / "a.safetensors")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="cannot be written"):
        save_learner(tiny_asnet, path, steps=2)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


def test_the_public_name():
    assert ifsl.load_model is load_model


def test_our_own_file_names_its_learner_and_a_published_one_is_recognised(tmp_path, monkeypatch, tiny_asnet):
    """A second backbone with the same numbers of blocks: by its shapes alone the file could be of either."""
    from ifsl.learners import BACKBONES
    from ifsl.run import checkpoints

    kept = save_learner(tiny_asnet, tmp_path / "kept.safetensors")
    twin = {"twin": BACKBONES["efficientnet_lite0"], **BACKBONES}
    monkeypatch.setattr(checkpoints, "BACKBONES", twin)
    assert load_model(kept).backbone_name == "efficientnet_lite0"
    state, _ = checkpoints.read_safetensors(kept)
    assert checkpoints.identify(state, kept) == (("asnet", "asnethm"), "twin")
    assert checkpoints.name_itself({"method": "pfenet", "backbone": "resnet101"}) is None  # published options
