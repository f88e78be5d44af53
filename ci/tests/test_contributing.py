"""CONTRIBUTING.md as it stands: its learners and its backbone are added to a copy of the package, and work."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TRIED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import ifsl
from ifsl.run.checkpoints import load_model, save_learner
from ifsl.run.settings import Settings
from ifsl.run.training import train
assert Path(ifsl.__file__).is_relative_to(Path.cwd())
method, backbone, root = sys.argv[1:]
size = 257 if backbone != "small" else 272 if method.startswith("asnet") else 64
quick = dict(method=method, backbone=backbone, datapath=root, bsz=2, val_every=2, val_episodes=2, workers=0)
quick |= dict(size=size, nowandb=True)
folder = train(Settings(**quick, steps=2))
assert train(Settings(**quick, steps=4), resume=True) == folder
assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 4
model = load_model(folder)
assert (model.method, model.backbone_name) == (method, backbone)
kept = load_model(save_learner(model, "kept.safetensors"))
bench = ifsl.Benchmark("pascal", root)
for one in (model, kept):
    result = ifsl.evaluate(one, bench, way=2, shot=2, episodes=2, size=size, workers=0, progress=False)
    assert result.settings["method"] == method and len(result.exact) == 2
episode = bench.episode(0, way=3, size=size)
presence, _ = model.predict(episode.query[None], episode.supports[None], episode.masks[None])
assert presence.shape == (1, 3)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A folder with a copy of the package to which all code blocks of CONTRIBUTING.md are added."""
    home = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "ifsl", home / "ifsl", ignore=shutil.ignore_patterns("__pycache__"))
    blocks = re.findall(r"```python\n# (\S+?)(?:, in (\w+))?\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert [table for _, table, _ in blocks] == ["", "LEARNERS", "", "BACKBONES", "", "LEARNERS"]
    for name, table, code in blocks:
        path = home / name
        if table:
            text = path.read_text()
            start = f"\n{table} = {{\n"
            assert text.count(start) == 1
            path.write_text(text.replace(start, start + code))
        else:
            assert not path.exists()
            path.write_text(code)
    return home


@pytest.mark.parametrize(
    ("method", "backbone"),
    [
        ("mean", "small"),
        ("mean", "efficientnet_lite0"),
        ("asnet-weighted", "efficientnet_lite0"),
        ("asnet-weighted", "small"),
    ],
)
def test_what_is_added_trains_saves_loads_evaluates_and_resumes(extended, tiny_root, tmp_path, method, backbone):
    shutil.copytree(extended / "ifsl", tmp_path / "ifsl")
    (tmp_path / "try.py").write_text(TRIED)
    command = [sys.executable, "try.py", method, backbone, str(tiny_root)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_rules_of_the_package_hold_for_what_is_added(extended):
    (extended / "ci" / "tests").mkdir(parents=True)
    for name in ("test_architecture.py", "test_schematics.py"):
        shutil.copy(ROOT / "ci" / "tests" / name, extended / "ci" / "tests")
    chosen = ["-k", "architecture or diagram", "ci/tests"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=extended, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_command_line_knows_what_is_added(extended):
    command = [sys.executable, "-m", "ifsl", "--method", "mean", "--backbone", "small", "--help"]
    done = subprocess.run(command, cwd=extended, capture_output=True, text=True)
    assert done.returncode == 0 and "asnet-weighted" in done.stdout
