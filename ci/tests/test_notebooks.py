"""The chapters keep to their form, their links lead somewhere, and their exercises tell right from wrong."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keep
import links
import nbformat
import pytest
import torch
import torch.nn.functional as F
from conftest import REPOSITORY
from torch import Tensor

from ifsl.learners.hybrid_masking import merge_masked
from ifsl.learners.maps import resize

FOLDER = REPOSITORY / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def text_of(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@chapters
def test_form(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    first = notebook.cells[0].source
    assert re.match(rf"# {path.name[:2]} · .+\n\n.+\n\n", first), "a title, then one sentence"
    assert "You will learn" in first and re.search(r"minute|hour", first), "goals and time"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert tagged(notebook, "parameters") == code[:1], "the first code cell holds the parameters"
    for heading in ("## Recap", "## Where this lives in ifsl/", "## Sources"):
        assert heading in text_of(notebook)
    assert re.search(r"## Sources\s+.*\]\(https?://", text_of(notebook), re.DOTALL)


@chapters
def test_code_follows_text(path: Path) -> None:
    """No three code cells in a row: a reader is told what comes, in the words before it."""
    kinds = [cell.cell_type for cell in read(path).cells if not tagged_any(cell)]
    assert "code code code" not in " ".join(kinds)


def tagged_any(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.metadata.get("tags"))


@chapters
def test_links(path: Path) -> None:
    text = text_of(read(path))
    assert links.set_right(text, FOLDER)[1] == [], "run `python ci/links.py --write`"
    for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text):
        assert (FOLDER / target).exists(), f"{target} does not exist"


@pytest.mark.skipif(not CHAPTERS or CHAPTERS[0].stem != "00_start_here", reason="there is no chapter 00")
def test_the_map_links_every_chapter() -> None:
    text = text_of(read(CHAPTERS[0]))
    missing = [path.name for path in CHAPTERS[1:] if f"]({path.name})" not in text]
    assert not missing, f"the map of chapter 00 does not link {missing}"


@chapters
def test_kept_outputs(path: Path) -> None:
    """Kept from one clean run: every cell ran in order, nothing went wrong, no machine shows, widgets are left out."""
    notebook = read(path)
    assert keep.problems(notebook, keep.machine_folders(REPOSITORY)) == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert not any(keep.WIDGET in output.get("data", {}) for output in outputs)
    assert any("image" in kind for output in outputs for kind in output.get("data", {})), "there is no figure"


# Exercises ------------------------------------------------------------------------------------------------------------

Answers = dict[int, tuple[Callable[[dict], object], list[Callable[[dict], object]]]]


def first_empty(names: dict) -> int:
    return next(i for i in range(1000) if not names["bench"].episode(i, 2, 1, 32).presence.any())


def share_shown(names: dict) -> float:
    shown = [names["bench"].episode(i, 1, 1, 32).presence.item() for i in range(names["episodes"])]
    return 100 * sum(shown) / len(shown)


def share_empty(names: dict) -> float:
    drawn = [names["bench"].draw(i, 3, 1) for i in range(1000)]
    return 100 * sum(not names["shown"](one.query) & set(one.classes) for one in drawn) / 1000


def absent_pair(names: dict) -> list[int]:
    return [c for c in names["bench"].class_ids if c not in names["shown"](names["bench"].entries[0][0])][:2]


def present_pair(names: dict) -> list[int]:
    return [names["bench"].entries[0][1], absent_pair(names)[0]]


def unclamped(q: Tensor, s: Tensor) -> Tensor:
    q, s = (x / x.norm(dim=0) for x in (q, s))
    return torch.einsum("cij,cuv->ijuv", q, s)


def correlate(q: Tensor, s: Tensor) -> Tensor:
    return unclamped(q, s).clamp(min=0)


def unnormalised(q: Tensor, s: Tensor) -> Tensor:
    return torch.einsum("cij,cuv->ijuv", q, s).clamp(min=0)


def transposed(q: Tensor, s: Tensor) -> Tensor:
    return correlate(q, s).permute(2, 3, 0, 1)


def presence(log_prob: Tensor, delta: float) -> Tensor:
    return log_prob[:, :, 1].amax(dim=(-2, -1)).exp() >= delta


def of_background(log_prob: Tensor, delta: float) -> Tensor:
    return log_prob[:, :, 0].amax(dim=(-2, -1)).exp() >= delta


def of_the_mean(log_prob: Tensor, delta: float) -> Tensor:
    return log_prob[:, :, 1].mean(dim=(-2, -1)).exp() >= delta


def over_ways(log_prob: Tensor, delta: float) -> Tensor:
    return log_prob[:, :, 1].amax(dim=(1, 2, 3)).exp() >= delta


def two_prototypes(features: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([features[:, mask == 0].mean(dim=1), features[:, mask > 0].mean(dim=1)])


def the_class_first(features: Tensor, mask: Tensor) -> Tensor:
    return two_prototypes(features, mask).flip(0)


def weighted(features: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([((weights * features).sum((1, 2)) / weights.sum()) for weights in (1 - mask, mask)])


def best_cosine(query: Tensor, support: Tensor) -> Tensor:
    q, s = (x.flatten(1) / x.flatten(1).norm(dim=0).clamp(min=1e-7) for x in (query, support))
    return (q.T @ s).amax(dim=1).reshape(query.shape[1:])


def stretched(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def prior(query: Tensor, support: Tensor) -> Tensor:
    return stretched(best_cosine(query, support))


def prior_of_products(query: Tensor, support: Tensor) -> Tensor:
    return stretched((query.flatten(1).T @ support.flatten(1)).amax(dim=1).reshape(query.shape[1:]))


def prior_of_support(query: Tensor, support: Tensor) -> Tensor:
    return prior(support, query).flatten()


def moved(x: Tensor, kernel: Tensor, held: tuple[int, int], free: tuple[int, int]) -> Tensor:
    pictures = x.permute(*held, 0, *free)
    y = F.conv2d(pictures.flatten(0, 1), kernel, padding=kernel.shape[-1] // 2).unflatten(0, pictures.shape[:2])
    return y.movedim(2, 0).permute(0, *(1 + (*held, *free).index(axis) for axis in (1, 2, 3, 4)))


def over_query(x: Tensor, kernel: Tensor) -> Tensor:
    return moved(x, kernel, (3, 4), (1, 2))


def over_support(x: Tensor, kernel: Tensor) -> Tensor:
    return moved(x, kernel, (1, 2), (3, 4))


def turned(x: Tensor, kernel: Tensor) -> Tensor:
    return over_query(x, kernel.transpose(2, 3))


def unpadded(x: Tensor, kernel: Tensor) -> Tensor:
    return over_query(x, kernel)[:, 1:-1, 1:-1]


def masked_softmax(logits: Tensor, inside: Tensor) -> Tensor:
    return logits.masked_fill(~inside, -1e9).softmax(dim=-1)


def masked_by_infinity(logits: Tensor, inside: Tensor) -> Tensor:
    return logits.masked_fill(~inside, -torch.inf).softmax(dim=-1)


def softmax_masked(logits: Tensor, inside: Tensor) -> Tensor:
    return logits.softmax(dim=-1) * inside


def even(logits: Tensor, inside: Tensor) -> Tensor:
    return masked_softmax(0 * logits, inside)


def unmasked(logits: Tensor, inside: Tensor) -> Tensor:
    return logits.softmax(dim=-1)


def by_cell(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    weight = resize(masks[:, None], features.shape[-2:])
    return torch.where(weight > 0, features * weight, of_masked_image)


def by_cell_unweighted(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    return torch.where(resize(masks[:, None], features.shape[-2:]) > 0, features, of_masked_image)


def swapped(features: Tensor, of_masked_image: Tensor, masks: Tensor) -> Tensor:
    return by_cell(of_masked_image, features, masks)


def log_of_mean(log_prob: Tensor, present: Tensor) -> Tensor:
    p = log_prob.exp().mean(dim=(-2, -1))
    return -torch.where(present, p[..., 1], p[..., 0]).log().mean()


def of_the_other(log_prob: Tensor, present: Tensor) -> Tensor:
    return log_of_mean(log_prob, ~present)


def of_sums(log_prob: Tensor, present: Tensor) -> Tensor:
    return log_of_mean(log_prob, present) * log_prob.shape[1]


def days(names: dict) -> float:
    names["measured"] = {("precision", "32 bits"): ([1.0, 2.0, 9.0], 0.0)}
    return 2000 * len(names["trn"]) / 2.0 / 86400


def mean_over_episodes(names: dict) -> float:
    counts = [{0: (5, 9), 1: (1, 4)}, {0: (5, 9), 1: (8, 16), 2: (0, 0)}, {0: (5, 9), 2: (3, 3)}]
    names |= {"reference": "ASNet", "results": {"ASNet": SimpleNamespace(counts=counts, miou=29.0)}}
    return 100 * (0.375 + 1) / len(names["bench"].class_ids)  # the other classes were never asked for


def epochs(names: dict) -> float:
    names |= {"rows": [{"step": "40"}], "settings": SimpleNamespace(bsz=4), "trn": range(100)}
    return 1.6


ANSWERS: dict[str, Answers] = {
    "00": {
        1: (lambda names: 32, [lambda names: 31, lambda names: 5, lambda names: 10]),
        2: (share_shown, [lambda names: 100 - share_shown(names), lambda names: share_shown(names) / 100]),
        3: (lambda names: (26, 25), [lambda names: (26, 26), lambda names: (25, 25)]),
    },
    "01": {
        1: (lambda names: (3, 1, 8), [lambda names: (3, 1, 7), lambda names: (3, 3, 8), lambda names: (8, 1, 3)]),
        2: (share_empty, [lambda names: 100 - share_empty(names), lambda names: 100, lambda names: -1]),
        3: (absent_pair, [lambda names: names["bench"].class_ids[:5], lambda names: present_pair(names)]),
    },
    "02": {
        1: (lambda names: 0, [lambda names: 1, lambda names: 2]),
        2: (lambda names: 0.757, [lambda names: 0.75, lambda names: 0.5, lambda names: 0.9]),
        3: (first_empty, [lambda names: first_empty(names) + 1, lambda names: -1, lambda names: "7"]),
    },
    "03": {
        1: (lambda names: "b", [lambda names: "a", lambda names: "c", lambda names: 2]),
        2: (
            lambda names: (25_000_000, 4),
            [lambda names: (25_000_000, 16), lambda names: (10_000, 4), lambda names: (6_250_000, 4)],
        ),
        3: (lambda names: correlate, [lambda names: unclamped, lambda names: unnormalised, lambda names: transposed]),
    },
    "04": {
        1: (lambda names: presence, [lambda names: of_background, lambda names: of_the_mean, lambda names: over_ways]),
        2: (lambda names: (True, 0), [lambda names: (True, 1), lambda names: (False, 0)]),
        3: (lambda names: 25, [lambda names: 50, lambda names: 100 / 3, lambda names: 0]),
    },
    "05": {
        1: (lambda names: two_prototypes, [lambda names: the_class_first, lambda names: weighted]),
        2: (lambda names: (True, True, 2), [lambda names: (False, True, 2), lambda names: (True, True, 1)]),
        3: (lambda names: 9, [lambda names: 5, lambda names: 90]),
    },
    "06": {
        1: (
            lambda names: prior,
            [lambda names: best_cosine, lambda names: prior_of_products, lambda names: prior_of_support],
        ),
        2: (lambda names: 1, [lambda names: 0.2, lambda names: 0, lambda names: 0.5]),
        3: (
            lambda names: [60, 30, 15, 8],
            [lambda names: [60, 30, 15, 7], lambda names: [8, 15, 30, 60], lambda names: [50, 25, 13, 7]],
        ),
    },
    "07": {
        1: (
            lambda names: (640_000, 51_200),
            [lambda names: (625, 50), lambda names: (640_000, 50_176), lambda names: (640_000, 25_600)],
        ),
        2: (lambda names: over_query, [lambda names: over_support, lambda names: turned, lambda names: unpadded]),
        3: (lambda names: (13, 4, 2), [lambda names: (12, 3, 1), lambda names: (13, 3, 2), lambda names: (25, 6, 3)]),
    },
    "08": {
        1: (lambda names: (7, 2), [lambda names: (6, 1), lambda names: (7, 1), lambda names: (13, 7)]),
        2: (
            lambda names: masked_softmax,
            [
                lambda names: masked_by_infinity,
                lambda names: softmax_masked,
                lambda names: even,
                lambda names: unmasked,
            ],
        ),
        3: (
            lambda names: (48_020_000, 612_500_000),
            [lambda names: (6_002_500, 76_562_500), lambda names: (48_020_000, 98_000_000), lambda names: (1, 2)],
        ),
    },
    "09": {
        1: (lambda names: (11, 21), [lambda names: (10, 20), lambda names: (11, 22), lambda names: (6, 11)]),
        2: (lambda names: "a", [lambda names: "b", lambda names: "c", lambda names: 1]),
        3: (
            lambda names: by_cell,
            [lambda names: merge_masked, lambda names: by_cell_unweighted, lambda names: swapped],
        ),
    },
    "10": {
        1: (lambda names: 1.204, [lambda names: 0.693, lambda names: 0.105, lambda names: 2.41]),
        2: (lambda names: (0.6, True), [lambda names: (0.6, False), lambda names: (0, False), lambda names: (1, True)]),
        3: (
            lambda names: log_of_mean,
            [lambda names: names["maps"].weak_loss, lambda names: of_the_other, lambda names: of_sums],
        ),
    },
    "11": {
        1: (lambda names: 4, [lambda names: 3, lambda names: 1, lambda names: 8]),
        2: (lambda names: 3, [lambda names: 6, lambda names: 24, lambda names: 5]),
        3: (days, [lambda names: days(names) * names["usual"], lambda names: 2 * days(names), lambda names: 0]),
    },
    "12": {
        1: (lambda names: 6147, [lambda names: 1537, lambda names: 1600, lambda names: 99, lambda names: 10**6]),
        2: (lambda names: 59, [lambda names: 50, lambda names: 90]),
        3: (mean_over_episodes, [lambda names: 29.0, lambda names: 100 / 3]),
    },
    "13": {
        1: (epochs, [lambda names: 0.4, lambda names: 6.4, lambda names: 3]),
        2: (lambda names: (200, 300), [lambda names: (200, 400), lambda names: (300, 200), lambda names: (400, 400)]),
        3: (lambda names: 179, [lambda names: 0, lambda names: 250]),
    },
}
"""{chapter: {exercise: (right answer, wrong answers)}}, each from the names that the chapter's set-up defines."""


@pytest.mark.parametrize("number", ANSWERS)
def test_exercises(number: str, monkeypatch: pytest.MonkeyPatch, tiny_root: Path, capsys) -> None:
    notebook = read(next(path for path in CHAPTERS if path.name.startswith(number)))
    monkeypatch.chdir(FOLDER)
    names: dict = {}
    for cell in tagged(notebook, "parameters") + tagged(notebook, "setup") + tagged(notebook, "answer"):
        exec(cell.source, names)
    checks = tagged(notebook, "check")
    assert len(checks) == len(ANSWERS[number]) in (2, 3)
    for k, cell in enumerate(checks, start=1):
        exec(cell.source, names)
        assert capsys.readouterr().out == f"Exercise {k}: not answered yet\n"
        right, wrong = ANSWERS[number][k]
        assert names[f"check_{k}"](right(names)).startswith("right: ")
        for answer in wrong:
            said = names[f"check_{k}"](answer(names))
            assert re.match(r"wrong.{20,}", said), said


@pytest.mark.parametrize("path", [path for path in CHAPTERS if path.name[:2] in ANSWERS], ids=lambda path: path.stem)
def test_solutions_are_folded(path: Path) -> None:
    text = text_of(read(path))
    assert text.count("<details>\n<summary>Solution</summary>") == len(ANSWERS[path.name[:2]])
