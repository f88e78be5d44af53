"""HSNet: correlations squeezed by centre-pivot 4-D convolutions (chapter 07)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Decoder(nn.Module):
    """From squeezed correlations to maps: (G, 128, h, w) to logits (G, 2, 2h, 2w); HSNet and ASNet end in it."""

    def __init__(self):
        super().__init__()
        self.decoder1 = nn.Sequential(
            nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 64, 3, padding=1), nn.ReLU()
        )
        self.decoder2 = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 2, 3, padding=1))

    def decode(self, x: Tensor) -> Tensor:
        x = self.decoder1(x)
        h, w = x.shape[-2:]
        return self.decoder2(F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=True))
