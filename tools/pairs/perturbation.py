"""Drop, reverse and shuffle a video's clips: the thirteen configurations of preference data.

With n clips and magnitude r the list is cut into consecutive blocks of g = max(1, n // r) clips
(the last block may be shorter). `reverse` reverses the order of the blocks, `shuffle` shuffles it,
and `drop` keeps g clips in their order. Magnitude is inverse difficulty: 16 leaves least of the
order and makes the easiest pair, 2 the hardest. Method: arXiv 2503.16929.

`swap` and `repeat`, at magnitude 1 alone, are this project's own and harder than those. In about
half of the pairs of neighbouring clips, `swap` swaps the two and `repeat` replaces one by the
other, so that no clip is more than one place from where it belongs.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tools.errors import Filtered, UserError

MAGNITUDES = (2, 4, 8, 16)  # the paper's four levels of difficulty, hardest first
FINEST = 1  # the level of `swap` and `repeat`
LEVELS = (*MAGNITUDES[::-1], FINEST)  # from the easiest to the hardest
NOISES = ("none", "drop", "reverse", "shuffle", "swap", "repeat")

_NAME = re.compile(
    r"caption_caption_((?:none|swap|repeat)_1|(?:drop|reverse|shuffle)_(?:2|4|8|16))"
    r"_(True|False)_(True|False)"
)

Similarity = Sequence[Sequence[float]]
"""n x n; entry [i][j] is the cosine similarity of i and j."""

Groups = Sequence[tuple[int, Sequence[int]]]
"""`merged_groups` of a record: for each clip its group id and the positions of its shots."""


@dataclass(frozen=True)
class Config:
    """One way to perturb a list of clips.

    `noise` is one of NOISES; `magnitude` is 1 for none, swap and repeat, else one of MAGNITUDES.
    `by_similarity` and `by_group` bias which clips `drop` drops (see `select`), and nothing else.
    """

    noise: str
    magnitude: int
    by_similarity: bool = False
    by_group: bool = False

    @property
    def name(self) -> str:
        """The name of the config's file, for instance `caption_caption_drop_2_False_False`."""
        return f"caption_caption_{self.noise}_{self.magnitude}_{self.by_similarity}_{self.by_group}"

    @classmethod
    @cache
    def parse(cls, name: str) -> "Config":
        """Read a config back from its name.

        Raises:
            UserError: the name is none of the method's.
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise UserError(
                f"not a perturbation: {name!r} (one is caption_caption_shuffle_8_False_False)"
            )
        noise, magnitude = match[1].split("_")
        return cls(noise, int(magnitude), match[2] == "True", match[3] == "True")


CLEAN = Config("none", 1)
"""The clips as they are: the chosen side of every pair."""

FINE = (Config("swap", FINEST), Config("repeat", FINEST))
"""The level that is finer than the paper's."""


def configs(
    by_similarity: bool = False, by_group: bool = False, fine: bool = False
) -> list[Config]:
    """The thirteen configs in their fixed order: CLEAN, then each noise from magnitude 2 to 16;
    with `fine` FINE behind them.

    The two biases are set on the drops alone, so that the other nine keep their names, and their
    responses are used again, when a bias is switched on.
    """
    drops = [Config("drop", r, by_similarity, by_group) for r in MAGNITUDES]
    blocks = (Config(noise, r) for noise in ("reverse", "shuffle") for r in MAGNITUDES)
    return [CLEAN, *drops, *blocks, *(FINE if fine else ())]


@dataclass(frozen=True)
class Selection:
    """Which clips a response is written from.

    `indices` are positions in the list of clips, in the order of the response; `block_size` is g in
    clips for reverse and shuffle, None for the others, which do not cut into such blocks.
    """

    indices: list[int]
    block_size: int | None


def select(
    config: Config,
    n: int,
    seed: int,
    video_id: str,
    clip_similarity: Similarity | None = None,
    merged_groups: Groups | None = None,
) -> Selection:
    """Choose and order the clips of one video for one config.

    The generator is seeded from (seed, video_id, config name) alone. A draw that leaves the clips
    as they are would make a false rejection: it is drawn again, so shuffles are uniform over the
    orders of the blocks other than the clean one. Drops are uniform over the subsets of g clips,
    unless

    - by_similarity: clips are dropped one after another, the first uniformly, each next one in
      proportion to its mean similarity to those dropped already (a negative mean counts as 0; when
      all are 0 the draw is uniform). The similarity of two clips is the mean over all pairs of a
      shot of the one and a shot of the other.
    - by_group: all clips of one group id are dropped together. Group ids are drawn one after
      another, and the drawing ends before the first one whose loss would leave fewer than g clips;
      so g is the least that is kept, not the exact number.
    - both: whole groups, drawn in proportion to the mean similarity of their clips to those
      dropped.

    Args:
        n: number of clips of the video (merged groups, not shots).
        clip_similarity: similarity of the *shots*, needed by by_similarity.
        merged_groups: the n clips as groups of shots, needed by by_similarity and by_group.

    Raises:
        Filtered: "identity_only", when every draw would leave the clips as they are (n = 1, or
            every group too large to lose).
        ValueError: the record lacks what a bias asks for, as one of the reference's may.
    """
    if config.noise == "none":
        return Selection(list(range(n)), None)
    block_size = max(1, n // config.magnitude)
    rng = random.Random(f"{seed}/{video_id}/{config.name}")
    if config.noise == "drop":
        kept = _drop(config, n, block_size, rng, clip_similarity, merged_groups)
        return Selection(kept, None)
    if config in FINE:
        return Selection(_among_neighbours(config.noise, n, rng), None)
    blocks = [list(range(i, min(i + block_size, n))) for i in range(0, n, block_size)]
    if len(blocks) < 2:
        raise Filtered("identity_only")
    if config.noise == "reverse":
        blocks.reverse()
    else:
        clean = list(blocks)
        while blocks == clean:
            rng.shuffle(blocks)
    return Selection([clip for block in blocks for clip in block], block_size)


def _among_neighbours(noise: str, n: int, rng: random.Random) -> list[int]:
    """Cut the clips into pairs of neighbours, from the first or the second clip on, and swap each
    pair, or repeat one of the two, with a chance of one half."""
    if n < 2:
        raise Filtered("identity_only")
    clean = list(range(n))
    order = list(clean)
    while order == clean:
        for first in range(rng.randrange(2), n - 1, 2):
            if rng.random() < 0.5:
                pair = [first, first + 1]
                order[first : first + 2] = pair[::-1] if noise == "swap" else [rng.choice(pair)] * 2
    return order


def _drop(
    config: Config,
    n: int,
    keep: int,
    rng: random.Random,
    clip_similarity: Similarity | None,
    merged_groups: Groups | None,
) -> list[int]:
    """The clips left, in order, after dropping units (clips or whole groups) down to `keep`
    clips."""
    units = [[clip] for clip in range(n)]
    similarity = None
    if config.by_group:
        if merged_groups is None:
            raise ValueError("no merged_groups, which a drop by group needs")
        members: dict[int, list[int]] = {}
        for clip, (group, _) in enumerate(merged_groups):
            members.setdefault(group, []).append(clip)
        units = list(members.values())
    if config.by_similarity:
        if clip_similarity is None or merged_groups is None:
            raise ValueError("no clip_similarity or merged_groups: a drop by similarity needs both")
        similarity = _between_clips(clip_similarity, merged_groups)
    if all(len(unit) > n - keep for unit in units):
        raise Filtered("identity_only")

    dropped: list[int] = []
    while not dropped:  # empty again when the first group drawn is too large to lose
        left = list(units)
        while left:
            unit = left.pop(_draw(left, dropped, similarity, rng))
            if n - len(dropped) - len(unit) < keep:
                break
            dropped += unit
    return sorted(set(range(n)) - set(dropped))


def _draw(
    left: list[list[int]], dropped: list[int], similarity: Similarity | None, rng: random.Random
) -> int:
    """The position in `left` of the unit to drop next."""
    if similarity is not None and dropped:
        weights = [
            max(0.0, _mean([similarity[i][j] for i in unit for j in dropped])) for unit in left
        ]
        if any(weights):
            return rng.choices(range(len(left)), weights)[0]
    return rng.randrange(len(left))


def _between_clips(clip_similarity: Similarity, merged_groups: Groups) -> list[list[float]]:
    """Similarity of clips (n x n) from that of shots: the mean over the shots of both."""
    shots = [members for _, members in merged_groups]
    return [[_mean([clip_similarity[a][b] for a in i for b in j]) for j in shots] for i in shots]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def equivalence(selections: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Which configs of one video are the same perturbation, across noises and magnitudes.

    Args:
        selections: for each config's name its selected indices.

    Returns:
        For each name the canonical name among those of equal indices: the hardest (smallest
        magnitude), ties going to the earlier noise in NOISES. CLEAN stands for itself, and for any
        selection that is the clean order.
    """

    def easiness(name: str) -> tuple[int, int, str]:
        config = Config.parse(name)
        return config.magnitude, NOISES.index(config.noise), name

    names = sorted(selections, key=easiness, reverse=True)
    hardest = {tuple(selections[name]): name for name in names}  # the last of equal ones stays
    return {name: hardest[tuple(indices)] for name, indices in selections.items()}
