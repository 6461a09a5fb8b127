"""What people thought of the pairs: `data/<dataset>/judgements.jsonl`, one verdict a line.

Lines are only ever added; who judges a pair again adds another line. For conversion, the last line
about a pair counts, whoever wrote it; for agreement, each judge's last line about it. "Last" is the
order of the lines, not of their clocks: lines are added under a lock.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from tools.errors import UserError
from tools.pairs.perturbation import Config
from tools.statistics import wilson
from tools.store.dataset import Dataset
from tools.store.files import Appender
from tools.store.jsonl import dumps, lines_from, parse_line
from tools.store.locks import locked

ACCEPT, REJECT, UNSURE = VERDICTS = ("accept", "reject", "unsure")
CHOSEN_LEFT, CHOSEN_RIGHT = ("chosen", "rejected"), ("rejected", "chosen")


class Pair(NamedTuple):
    """Which pair: the video's response to the clean order against that to `config`."""

    model: str
    iteration: int
    config: str
    video_id: str


@dataclass(frozen=True)
class Judgement:
    """One line of the file.

    Attributes:
        time: ISO 8601, UTC.
        config: that of the perturbed side.
        verdict: accept (chosen is the better account of the video), reject (it is not) or unsure.
        blind: whether the judge did not know which side was chosen.
        sides: what stood on the left and on the right, "chosen" and "rejected".
    """

    time: str
    judge: str
    video_id: str
    model: str
    iteration: int
    config: str
    verdict: str
    blind: bool
    sides: tuple[str, str]
    comment: str

    @property
    def pair(self) -> Pair:
        """What was judged."""
        return Pair(self.model, self.iteration, self.config, self.video_id)


def judge(
    dataset: Dataset,
    name: str,
    pair: Pair,
    verdict: str,
    *,
    blind: bool = False,
    sides: tuple[str, str] = CHOSEN_LEFT,
    comment: str = "",
    once: bool = False,
) -> None:
    """Add a verdict to the dataset's file, under a lock.

    Args:
        once: leave a pair alone that this judge has judged.

    Raises:
        UserError: `name` is empty or `verdict` is not one of VERDICTS.
        StorageError: the data folder cannot be written to.
    """
    if not name.strip():
        raise UserError("a judgement needs the name of who judges")
    if verdict not in VERDICTS:
        raise UserError(f"verdict {verdict!r}: use one of {', '.join(VERDICTS)}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    model, iteration, config, video_id = pair
    judgement = Judgement(
        now, name.strip(), video_id, model, iteration, config, verdict, blind, sides, comment
    )
    path = dataset.judgements
    # Appender first cuts off a torn end, so it must be made under the lock.
    with locked(path.with_name(f".{path.name}.lock")), closing(Appender(path)) as log:
        if not once or (judgement.judge, pair) not in latest_by_judge(read(dataset)):
            log.append(dumps(asdict(judgement)))


def read(dataset: Dataset) -> Iterator[Judgement]:
    """Yield all judgements of a dataset, the oldest first.

    Raises:
        UserError: the file cannot be read, or a line is not a judgement.
    """
    path = dataset.judgements
    try:
        lines = list(lines_from(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    for number, _, line in lines:
        record = parse_line(line, path, number)
        try:
            if record["verdict"] not in VERDICTS:
                raise UserError(
                    f"{path} line {number}: verdict {record['verdict']!r} is not one of"
                    f" {', '.join(VERDICTS)}"
                )
            yield Judgement(**{**record, "sides": tuple(record["sides"])})
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} line {number} is not a judgement ({error})") from error


def latest(judgements: Iterable[Judgement]) -> dict[Pair, Judgement]:
    """The judgement that counts for each pair: the last one about it, whoever wrote it."""
    return {judgement.pair: judgement for judgement in judgements}


def latest_by_judge(judgements: Iterable[Judgement]) -> dict[tuple[str, Pair], Judgement]:
    """The judgement that counts for each judge and pair: the last one of that judge's."""
    return {(judgement.judge, judgement.pair): judgement for judgement in judgements}


@dataclass
class Agreement:
    """How many blind judgements of one kind of pair agree with the construction, that is, prefer
    the chosen side."""

    noise: str
    magnitude: int
    agree: int
    differ: int
    unsure: int

    @property
    def decided(self) -> int:
        """Judgements that prefer a side."""
        return self.agree + self.differ

    @property
    def share(self) -> float | None:
        """Agreement among those decided, 0 to 1; None where there are none."""
        return self.agree / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share; (0, 1) where nothing is decided."""
        return wilson(self.agree, self.decided)


def agreement(judgements: Iterable[Judgement]) -> list[Agreement]:
    """Blind judges against the construction, per noise and magnitude; each judge's last blind
    verdict on a pair counts once."""
    verdicts: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    blind = (judgement for judgement in judgements if judgement.blind)
    for judgement in latest_by_judge(blind).values():
        config = Config.parse(judgement.config)
        verdicts[config.noise, config.magnitude][judgement.verdict] += 1
    return [
        Agreement(*cell, counts[ACCEPT], counts[REJECT], counts[UNSURE])
        for cell, counts in sorted(verdicts.items())
    ]


def accord(judgements: Iterable[Judgement]) -> tuple[int, int]:
    """Between judges: of the pairs of blind, decided verdicts by two judges on one pair, how many
    are the same, and how many there are."""
    verdicts: dict[Pair, Counter[str]] = defaultdict(Counter)
    blind = (judgement for judgement in judgements if judgement.blind)
    for (_, pair), judgement in latest_by_judge(blind).items():
        if judgement.verdict != UNSURE:
            verdicts[pair][judgement.verdict] += 1
    same = sum(math.comb(n, 2) for counts in verdicts.values() for n in counts.values())
    return same, sum(math.comb(counts.total(), 2) for counts in verdicts.values())
