"""What the chapters share: where their files are, what an episode costs, and the exercises."""

from .comparison import compare_learners
from .costs import (
    TITLES,
    WARM_UP,
    episode_images,
    measure_costs,
    plain_backbone,
    random_episode,
    random_model,
    time_call,
    time_in_turn,
)
from .exercises import check, hint, solution
from .places import find_top, setup

__all__ = [
    "TITLES",
    "WARM_UP",
    "check",
    "compare_learners",
    "episode_images",
    "find_top",
    "hint",
    "measure_costs",
    "plain_backbone",
    "random_episode",
    "random_model",
    "setup",
    "solution",
    "time_call",
    "time_in_turn",
]
