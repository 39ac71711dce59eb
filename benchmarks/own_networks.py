"""Two networks as a user writes them, for `benchmarks/networks.py`: a file that knows nothing of this package."""
import torch
from torch import nn


class Encoder(nn.Module):
    "Patches as tokens, PyTorch's own encoder, the mean of the tokens."
    def __init__(self, num_classes=10, width=32, depth=2):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.place = nn.Parameter(torch.randn(1, 16, width) / 8)
        layer = nn.TransformerEncoderLayer(width, 4, 2*width, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place # (N, 16, width)
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


class GroupNormed(nn.Module):
    "Convolutions with GroupNorm, one of them depthwise."
    def __init__(self, num_classes=10, width=16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.ReLU())
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, 2*width, 1, stride=2)
        self.norm, self.head = nn.GroupNorm(4, 2*width), nn.Linear(2*width, num_classes)

    def forward(self, x):
        x = self.pointwise(self.depthwise(self.stem(x)))
        return self.head(torch.relu(self.norm(x)).mean((2, 3)))
