"""What choosing frames costs: optical flow and the grounding bridge over the vision tower.

    python -m benchmarks.grounding

A video of 128 frames, two a second, on one thread. To choose frames, the bridge reads the flow of
their 127 pairs; the other way is to run the answerer's vision tower on all of them. The tower has
the shape of BLIP-2's, ViT-g/14 at 224 pixels, and random weights, since only its time counts; its
CPU seconds are extrapolated from two frames through one layer and through three. RAFT's are so from
four pairs, the bridge is measured whole. Decoding, which both ways need, is left out. Exit code 1
where a ratio is above its bound.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torchvision.models import get_model
from transformers import Blip2VisionConfig, Blip2VisionModel

from benchmarks.flow import cpu_seconds
from grounding.bridge.network import Bridge, BridgeConfig
from tools.cli import positive, script_parser
from tools.features.flow import RAFT_WEIGHTS, SIDES, open_extractor

FRAMES = 128
BOUNDS = {"dis": 0.001, "raft_small": 0.1, "raft_large": float("inf")}
PAIRS = {"dis": FRAMES - 1, "raft_small": 4, "raft_large": 4}  # that are measured
LAYERS = (1, 3)  # of the tower that are measured
WHOLE = Blip2VisionConfig().num_hidden_layers
TOWER_FRAMES = 2
WORDS = 16  # of a question, tokens

Seconds = Callable[[Callable[[], object]], float]
"""How long a call takes."""


def tower(layers: int = WHOLE) -> Blip2VisionModel:
    """A vision tower of random weights; the defaults of the class are ViT-g/14's."""
    return Blip2VisionModel(Blip2VisionConfig(num_hidden_layers=layers)).eval()


def tower_seconds(seconds: Seconds) -> float:
    """CPU seconds of the whole tower on FRAMES frames."""
    side = Blip2VisionConfig().image_size
    pictures = torch.randn(TOWER_FRAMES, 3, side, side)
    few, more = (seconds(partial(tower(layers), pictures)) for layers in LAYERS)
    a_layer = (more - few) / (LAYERS[1] - LAYERS[0])
    return (few + (WHOLE - LAYERS[0]) * a_layer) * FRAMES / TOWER_FRAMES


def bridge_seconds(seconds: Seconds, device: str = "cpu") -> float:
    """Seconds of a bridge of the method's size on the flow of FRAMES frames."""
    with torch.device(device):
        bridge = Bridge(BridgeConfig()).eval()
        grid = bridge.config.grid
        flow, words = torch.randn(1, FRAMES - 1, 2, grid, grid), torch.randint(30_000, (1, WORDS))
        masks = torch.ones(1, FRAMES - 1), torch.ones(1, WORDS)
    return seconds(lambda: bridge(flow, masks[0], words, masks[1]))


def flow_seconds(
    name: str, seconds: Seconds, folder: Path, pairs: int, side: int, device: str = "cpu"
) -> float:
    """Seconds of the flow of FRAMES frames by an extractor, from so many pairs of pictures."""
    weights = None
    if name in RAFT_WEIGHTS:
        weights = folder / f"{name}.pth"
        torch.save(get_model(name).state_dict(), weights)
    extractor = open_extractor(name, side, weights, device)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    pictures = np.stack([np.roll(texture, (3 * n, 2 * n), (1, 0)) for n in range(pairs + 1)])
    return seconds(lambda: extractor.between(pictures)) * (FRAMES - 1) / pairs


@torch.no_grad()
def main() -> int:
    """Measure, print, and compare with the bounds."""
    parser = script_parser(__doc__)
    parser.add_argument("--repeat", type=positive, default=3, help="calls of each (default: 3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def middle(work: Callable[[], object]) -> float:
        work()  # what is set up once
        return median(cpu_seconds(work) for _ in range(args.repeat))

    whole, bridge = tower_seconds(middle), bridge_seconds(middle)
    print(f"{FRAMES} frames, CPU s: the bridge {bridge:.3f}, ViT-g/14 on all {whole:.0f}")
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for name, bound in BOUNDS.items():
            flow = flow_seconds(name, middle, Path(folder), PAIRS[name], SIDES[name])
            ratio = (flow + bridge) / whole
            missed |= ratio > bound
            limit = f"at most {bound}" if bound < float("inf") else "no bound"
            print(f"{name:10} flow {flow:8.3f} s, with the bridge {ratio:.5f} of that ({limit})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
