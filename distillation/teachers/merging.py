"""Chat-UniVi's merging of visual tokens: fewer where they look alike (Jin et al., CVPR 2024, arXiv
2311.08046). Nothing here is learned.

Tokens are clustered by density peaks among k nearest neighbours (DPC-KNN: Rodriguez & Laio 2014,
Du et al. 2016), and each cluster becomes its mean: the patches of a frame in three scales, and
before that the frames of a video in events.

Ties are decided by place here: of equally dense tokens the first counts as the denser, and as a
centre. The released code adds noise instead, which leaves many ties, since float32 has few values
near a density of 1; and where it makes two or three events (17 to 48 frames) each token is its own
nearest neighbour, all densities are 1, and the noise alone chooses. `noise` brings that back.
"""

import math
from dataclasses import dataclass

import torch

NEIGHBOURS = (5, 3, 3)  # of the three scales; of events as of the first
EVENT_NEIGHBOURS = 5
NOISE = 1e-6  # of the released code, times a number from 0 to 1
MOST_IMAGES = 2  # so many frames are separate pictures, more are a video


@dataclass(frozen=True)
class Merging:
    """How many tokens are left.

    Attributes:
        scales: clusters of a frame's patches, each scale merged from the one before.
        events_a_frame: times the frames of a video, rounded up, are its events.
        noise: seeds the noise on densities; None: no noise.
    """

    scales: tuple[int, int, int] = (64, 32, 16)
    events_a_frame: float = 1 / 16
    noise: int | None = None

    def tokens(self, patches: torch.Tensor) -> torch.Tensor:
        """The merged tokens of frames: (frames, patches, d) -> (n, d), n being the sum of the
        scales for each frame of at most MOST_IMAGES, or for each event of a longer video."""
        noise = None if self.noise is None else torch.Generator().manual_seed(self.noise)
        frames: list[torch.Tensor] = []
        for count, k in zip(self.scales, NEIGHBOURS, strict=True):
            frames.append(merge(frames[-1] if frames else patches, count, k, noise))
        if len(patches) <= MOST_IMAGES:
            return torch.cat(frames, dim=1).flatten(0, 1)
        merged = []
        for event in self.events(patches, noise):
            merged += [
                merge(scale[event].flatten(0, 1)[None], count, k, noise)[0]
                for scale, count, k in zip(frames, self.scales, NEIGHBOURS, strict=True)
            ]
        return torch.cat(merged)

    def events(
        self, patches: torch.Tensor, noise: torch.Generator | None = None
    ) -> list[list[int]]:
        """Numbers of the frames of each event, in order of first appearance."""
        count = math.ceil(len(patches) * self.events_a_frame)
        labels = clusters(patches.mean(1)[None], count, EVENT_NEIGHBOURS, noise)[0]
        frames: dict[int, list[int]] = {}
        for number, label in enumerate(labels.tolist()):
            frames.setdefault(label, []).append(number)
        return list(frames.values())


def merge(
    tokens: torch.Tensor, count: int, k: int, noise: torch.Generator | None = None
) -> torch.Tensor:
    """The means of clusters, (batch, tokens, d) -> (batch, count, d)."""
    members = torch.nn.functional.one_hot(clusters(tokens, count, k, noise), count).to(tokens.dtype)
    sizes = members.sum(1)[..., None]
    return members.transpose(1, 2) @ tokens / (sizes + 1e-6)


def clusters(
    tokens: torch.Tensor, count: int, k: int, noise: torch.Generator | None = None
) -> torch.Tensor:
    """The cluster of each token, (batch, tokens, d) -> (batch, tokens) of 0 .. count - 1.

    Args:
        k: neighbours that a density is of, the token itself among them; where there are fewer
            clusters than that, as the released code has it.
        noise: draws what is added to the densities.
    """
    batch, size, width = tokens.shape
    if k > count:
        k = min(3, max(count // 2, 1))
    distance = torch.cdist(tokens.float(), tokens.float()) / math.sqrt(width)
    # Made by matrix products, it is not exactly 0 from a token to itself.
    distance.diagonal(dim1=1, dim2=2).zero_()
    density = distance.topk(k, largest=False).values.square().mean(-1).neg().exp()
    if noise is not None:
        drawn = torch.rand(density.shape, generator=noise)
        density = density + NOISE * drawn.to(density.device)
    place = torch.arange(size, device=tokens.device)
    ours, others = density[:, :, None], density[:, None, :]
    is_denser = (others > ours) | ((others == ours) & (place[None, :] < place[:, None]))
    farthest = distance.flatten(1).amax(1)[:, None, None]
    apart = torch.where(is_denser, distance, farthest).amin(-1)
    by_score = (apart * density).sort(dim=-1, descending=True, stable=True).indices
    centres = by_score[:, :count]
    nearest = distance.gather(1, centres[..., None].expand(batch, -1, size)).argmin(1)
    own = torch.arange(centres.shape[1], device=tokens.device).expand(batch, -1)
    return nearest.scatter(1, centres, own)
