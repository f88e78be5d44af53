"""The exercises of chapter 06."""

import numpy as np
import torch
from answers import make_tests
from torch import Tensor


def best_cosine(query: Tensor, support: Tensor) -> Tensor:
    q, s = (x.flatten(1) / x.flatten(1).norm(dim=0).clamp(min=1e-7) for x in (query, support))
    return (q.T @ s).amax(dim=1).reshape(query.shape[1:])


def scaled(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min())


def prior(query: Tensor, support: Tensor) -> Tensor:
    return scaled(best_cosine(query, support))


def in_numpy(query: Tensor, support: Tensor) -> np.ndarray:
    return prior(query, support).numpy()


def of_products(query: Tensor, support: Tensor) -> Tensor:
    return scaled((query.flatten(1).T @ support.flatten(1)).amax(dim=1).reshape(query.shape[1:]))


def of_support(query: Tensor, support: Tensor) -> Tensor:
    return prior(support, query)


def flat(query: Tensor, support: Tensor) -> Tensor:
    return prior(query, support).flatten()


RIGHT = [
    *[("06.1", answer) for answer in (prior, in_numpy)],
    *[("06.2", answer) for answer in (1, 1.0, np.float32(1), torch.tensor(1))],
    *[("06.3", answer) for answer in ([60, 30, 15, 8], (60, 30, 15, 8), np.array([60, 30, 15, 8]))],
]
WRONG = [
    ("06.1", best_cosine, "Scale the map"),
    ("06.1", of_products, "Take cosines"),
    ("06.1", of_support, "largest over the support"),
    ("06.1", flat, r"shape is \(30,\)"),
    ("06.1", torch.zeros(5, 6), "Give a function"),
    ("06.1", lambda query: query, "could not be checked"),
    ("06.2", 0.2, "denominator"),
    ("06.2", 0, "into the formula"),
    ("06.2", True, "Give one number"),
    ("06.3", [60, 30, 15, 7], "rounded up"),
    ("06.3", [60, 30, 15, 7.5], "rounded up"),
    ("06.3", [8, 15, 30, 60], "finest bin comes first"),
    ("06.3", [50, 25, 13, 7], "Divide"),
    ("06.3", [60, 30, 15], "list of 4"),
    ("06.3", 60, "list of numbers"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)
