"""The exercises of chapter 11, and what it counts."""

import numpy as np
import torch
from answers import make_tests

from ifsl.run import roofline

RIGHT = [("11.1", 0.5), ("11.1", np.float64(0.5)), ("11.2", torch.tensor(4)), ("11.2", 4.0), ("11.3", np.int64(3))]
WRONG = [
    ("11.1", 0.247, "arithmetic"),
    ("11.1", 0.747, "sum"),
    ("11.1", 0.0005, "milliseconds"),
    ("11.1", 12, "longer"),
    ("11.1", "0.5 ms", "number"),
    ("11.2", 3, "waits"),
    ("11.2", 1, "twelve"),
    ("11.2", 8, "many"),
    ("11.2", 2, "few"),
    ("11.2", 3.2, "whole"),
    ("11.3", 6, "eight"),
    ("11.3", 12, "96"),
    ("11.3", 24, "192"),
    ("11.3", 5, "Divide"),
]

test_right, test_wrong = make_tests(RIGHT, WRONG)


def test_a_product_is_counted_and_views_are_free() -> None:
    with roofline.Counter() as counter:
        (torch.empty(4, 5, device="meta") @ torch.empty(5, 6, device="meta")).t().relu()
    assert [(work.flops, work.bytes) for work in counter.works] == [(240, 4 * (20 + 30 + 24)), (0, 4 * 48)]


def test_the_longer_time_counts() -> None:
    works = [roofline.Work("a", 100, 1), roofline.Work("b", 0, 50)]
    assert roofline.least_time(works, roofline.Device(flops=10, bandwidth=5)) == 20
    assert roofline.least_time(works, roofline.Device(flops=10, bandwidth=5), share_of_bytes=0.5) == 15


def test_a_device_is_measured() -> None:
    found = roofline.measure_device("cpu", side=64, megabytes=1)
    assert found.flops > 0 and found.bandwidth > 0
