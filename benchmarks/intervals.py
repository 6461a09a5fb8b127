"""How often an interval of 95 % covers an accuracy that is known.

    python -m benchmarks.intervals            # 1,000 draws of 200 videos with 5 questions each

Videos differ in how hard they are: a model's accuracy on a video is drawn from a beta distribution
around the known one, and so its answers correlate within a video. Beside the intervals of
`qa.scoring`, which draw videos, stand those that would take questions for independent.
"""

import sys

import numpy as np

from qa.records import Question
from qa.scoring import estimate
from tools.cli import positive, script_parser, share
from tools.statistics import interval, interval_of

BOUNDS = (0.935, 0.965)
VIDEOS, QUESTIONS = 200, 5
CONCENTRATION = 3.0  # of the beta distribution; the answers' correlation is 1 / (1 + this)


def main() -> None:
    """Draw, count, print, and exit with 1 where the bound is missed."""
    parser = script_parser(__doc__)
    parser.add_argument("--draws", type=positive, default=1000, help="how many (default 1,000)")
    parser.add_argument("--accuracy", type=share, default=0.6, help="the known one (default 0.6)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default 0)")
    args = parser.parse_args()
    questions = [
        Question(f"{video:03}/{number}", "made_up", "val", "Which?", video_id=f"{video:03}")
        for video in range(VIDEOS)
        for number in range(QUESTIONS)
    ]
    rng = np.random.default_rng(args.seed)
    above, below = args.accuracy * CONCENTRATION, (1 - args.accuracy) * CONCENTRATION
    covered, by_question, widths = 0, 0, []
    for _ in range(args.draws):
        of_videos = rng.beta(above, below, VIDEOS)
        right = (rng.random((VIDEOS, QUESTIONS)) < of_videos[:, None]).astype(float).ravel()
        values = {question.id: value for question, value in zip(questions, right, strict=True)}
        own = interval_of(*estimate(questions, values))
        naive = interval(np.stack([right, np.ones_like(right)], axis=1))
        assert naive
        covered += own.low <= args.accuracy <= own.high
        by_question += naive.low <= args.accuracy <= naive.high
        widths.append((own.high - own.low, naive.high - naive.low))
    share_covered = covered / args.draws
    wide, narrow = np.mean(widths, axis=0)
    low, high = BOUNDS
    print(
        f"{args.draws} draws of {VIDEOS} videos x {QUESTIONS} questions, accuracy {args.accuracy}"
    )
    print(f"covered: {share_covered:.1%} (bound {low:.1%} to {high:.1%}), {wide:.3f} wide")
    print(f"if questions were drawn: {by_question / args.draws:.1%}, {narrow:.3f} wide")
    sys.exit(0 if low <= share_covered <= high else 1)


if __name__ == "__main__":
    main()
