"""Make the animation of README, data/query-point.webp: a cross moves over the query, as with chapter 03's widget."""

import argparse
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import ifsl
from ifsl.data.images import to_image
from ifsl.learners.backbones import build_backbone
from ifsl.learners.correlation import correlation_pyramid, normalize
from ifsl.pictures.canvas import save
from ifsl.pictures.correlation import select_cell, show_correlation
from ifsl.tiny import ensure_tiny

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "data" / "query-point.webp"
LIMIT_BYTES = 2_000_000
PATH = [(0.12, 0.15), (0.65, 0.30), (0.60, 0.62), (0.90, 0.88), (0.30, 0.80), (0.12, 0.15)]  # shares of the query
FRAMES = 5  # between two points


def main(arguments: list[str]) -> int:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    bench = ifsl.Benchmark("pascal", ensure_tiny(ROOT / "data" / "tiny"), fold=0, split="val")
    ep = bench.episode(20, way=1, shot=1, size=272)
    backbone = build_backbone("efficientnet_lite0", pretrained=True)
    with torch.inference_mode():
        query, support = (normalize(backbone.pyramid(images)) for images in (ep.query[None], ep.supports[0]))
    names = [f"{name}, {maps[0].shape[-2]} x {maps[0].shape[-1]} cells" for name, maps in
             zip(("layer2", "layer3", "layer4"), query, strict=True)]  # fmt: skip
    correlations = {name: one[0] for name, one in zip(names, correlation_pyramid(query, support), strict=True)}
    picture, mask = to_image(ep.supports[0, 0]), ep.masks[0, 0]
    frames = []
    for start, end in zip(PATH, PATH[1:], strict=False):
        for share in np.linspace(0, 1, FRAMES, endpoint=False):
            point = tuple(float(a + share * (b - a)) for a, b in zip(start, end, strict=True))
            fig = show_correlation(ep.picture, point, picture, mask, select_cell(correlations, point))
            frames.append(Image.open(BytesIO(save(fig, "png", 90))).convert("RGB"))
    frames[0].save(TARGET, save_all=True, append_images=frames[1:], duration=280, loop=0, quality=70, method=6)
    size = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {len(frames)} frames of {frames[0].size}, {size / 1e6:.2f} MB")
    return int(size > LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
