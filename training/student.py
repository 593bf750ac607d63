"""The student as a PyTorch module, and its weights with BatchNorm folded away."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from training.architecture import ARCHITECTURE, BATCH_NORM_EPSILON, INPUT_SCALE, INPUT_SHIFT

ACTIVATIONS = {"relu": nn.functional.relu, "silu": nn.functional.silu}


class Student(nn.Module):
    """The network of `training.architecture`.

    `output_scale`, float32 (64,), is a constant factor on each embedding value: it lets the last layer work in units of
    the teacher's standard deviations, which differ by a factor of 50, and is folded into that layer's weights later.
    """

    def __init__(self, output_scale: torch.Tensor) -> None:
        super().__init__()
        channels = [1, *(layer.filters for layer in ARCHITECTURE)]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm2d(n, eps=BATCH_NORM_EPSILON, momentum=0.02) for n in channels[1:])
        self.register_buffer("output_scale", output_scale.reshape(1, -1, 1, 1).clone())
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        # The teacher's last map is 90 % zeros: begin near that.
        nn.init.constant_(self.norms[-1].bias, -1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The last activation map, (n, 64, 8, 6), of images (n, 1, 64, 50); its maximum is the embedding."""
        x = images * INPUT_SCALE + INPUT_SHIFT
        outputs: list[torch.Tensor] = []
        for layer, conv, norm in zip(ARCHITECTURE, self.convs, self.norms, strict=True):
            x = norm(conv(x))
            if layer.skip:
                x = x + outputs[-layer.skip]
            outputs.append(ACTIVATIONS[layer.activation](x))
            x = nn.functional.max_pool2d(outputs[-1], 2) if layer.pool else outputs[-1]
        return x * self.output_scale

    def folded(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weight (out, in, 3, 3) and bias (out,), float32, of each convolution, with BatchNorm and scale folded in."""
        layers = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layers.append((conv.weight * gain.reshape(-1, 1, 1, 1), norm.bias - norm.running_mean * gain))
        scale = self.output_scale.reshape(-1)
        weight, bias = layers[-1]
        layers[-1] = (weight * scale.reshape(-1, 1, 1, 1), bias * scale)
        return [(w.detach().cpu().float().numpy(), b.detach().cpu().float().numpy()) for w, b in layers]
