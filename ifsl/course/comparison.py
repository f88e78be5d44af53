"""The learners side by side: the table of chapter 12."""

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import InputError, shown
from .costs import TITLES


class Facts(NamedTuple):
    """How a learner works, in a few words, and its learnable parameters on the backbone of its publication."""

    compared: str
    mask: str
    shots: str
    presence: str
    published: str


FROM_MAPS = "largest foreground probability of the map ≥ 0.5"
VOTES = "maps: mean of the log-probabilities; presence: vote of the shots"
FACTS = {
    "panet": Facts(
        "each query cell with one prototype for each class and one for the background",
        "selects the support cells that are averaged",
        "all cells of all shots in one mean",
        FROM_MAPS,
        "23,508,032 (ResNet-50; nothing beside the backbone)",
    ),
    "pfenet": Facts(
        "each query cell with one support vector and a prior map",
        "multiplies layer3 before layer4, and weights the mean that gives the support vector",
        "mean of the support vectors and of the prior maps",
        FROM_MAPS,
        "10,817,034 (ResNet-50)",
    ),
    "hsnet": Facts(
        "every query cell with every support cell, in every bottleneck",
        "multiplies the support features",
        VOTES,
        FROM_MAPS,
        "2,573,794 (ResNet-50)",
    ),
    "asnet": Facts(
        "every query cell with every support cell, in every bottleneck",
        "hides keys in the attention over support cells",
        VOTES,
        FROM_MAPS,
        "1,320,610 (ResNet-50)",
    ),
    "asnethm": Facts(
        "as ASNet, with support features of the image and of the masked image",
        "on the features, on the support image, and in the attention",
        VOTES,
        FROM_MAPS,
        "1,320,610 (ResNet-50)",
    ),
    "cst": Facts(
        "every query token with every support token and the support's class token, in every block and head",
        "hides keys in the attention; never the class token",
        "mean of the probabilities, for presence and mask",
        "a class head of its own, probability > 0.5",
        "366,004 (DINO ViT-S/8)",
    ),
    "emat": Facts(
        "as CST, with a finer support grid",
        "removes keys from the attention; never the class token",
        "mean of the probabilities, for presence and mask",
        "a class head of its own, probability > 0.5",
        "86,020 (DINOv2 ViT-S/14)",
    ),
}
"""By method; chapters 05 to 09 and 16 explain each entry."""


def compare_learners(costs: Sequence[dict]) -> str:
    """A Markdown table of the learners in `costs`, the rows of `measure_costs`: how each works, its size and its time.

    Raises `InputError` for a learner that the table does not have.
    """
    lines = [
        "| | what is compared | where the mask enters | how K shots merge | how presence arises "
        "| parameters: as published | here | time / backbone |",
        "|---|---|---|---|---|---|--:|--:|",
    ]
    for row in costs:
        if row["method"] not in FACTS:
            raise InputError(f"The table has no learner {shown(row['method'])}; it has {', '.join(FACTS)}.")
        title = f"**{TITLES[row['method']]}**"
        cells = [title, *FACTS[row["method"]], f"{row['trained']:,}", f"{row['floor']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
