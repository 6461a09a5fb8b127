"""The checks that questions of all benchmarks go through: from a draft to a record, or a reason."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from qa.options import LETTERS
from qa.readers.rows import Draft, Rejected
from qa.records import Question
from qa.videos import Videos
from tools.video.listing import video_id

REASONS = {
    "missing_field": "a field that the benchmark's rows have is not in it",
    "unreadable_field": "a field holds something else than is published",
    "empty_question": "its question is empty",
    "empty_option": "one of its options is empty",
    "equal_options": "two of its options are equal, apart from case, blanks and a final full stop",
    "too_few_options": "it has fewer than two options",
    "too_many_options": f"it has more options than there are letters, {len(LETTERS)}",
    "answer_not_an_option": "its answer is none of its options, or not the one at its answer_index",
    "no_answer": "the file of answers, or of captions, has none for it",
    "other_split": "the file puts its video into another split",
    "impossible_span": "its end is not after its start, or its start is before 0",
    "span_beyond_video": "the part that is asked about ends after the video does",
    "missing_video": "no file in the folder has the name of its video",
    "ambiguous_video": "several files may be its video",
    "unreadable_video": "its video cannot be opened",
    "no_other_answer": "--choices: no other answer of its kind is known",
}

# Annotators give times in whole seconds in part, and headers round too: an end that is at most so
# many seconds behind the video's end means the video's end.
SPAN_SLACK = 1.0
CUT = f"end up to {SPAN_SLACK:g} s behind the video: cut to its length"

SUSPECT = 3.09  # standard normal: 1 balanced file in 1,000 is above
LEAST_EXPECTED = 5  # questions a position, below which the chi-square distribution does not hold


def comparable(text: str) -> str:
    """A text as an answer is looked up among its options: without the blanks around it and one
    final full stop."""
    return text.strip().removesuffix(".").rstrip()


def chosen(draft: Draft) -> tuple[list[str] | None, str | None, int | None]:
    """The options, the right answer and its position of a draft; raises Rejected where they do not
    fit each other."""
    answer = draft.answer.strip() if draft.answer is not None else None
    index = draft.answer_index
    if draft.choices is None:
        if index is not None:
            raise Rejected("answer_not_an_option", f"it has answer_index {index} and no options")
        return None, answer, None
    choices = [choice.strip() for choice in draft.choices]
    if not all(choices):
        raise Rejected("empty_option", f"option {choices.index('')} of {len(choices)}")
    if len(choices) < 2:
        raise Rejected("too_few_options", f"it has {len(choices)}")
    if len(choices) > len(LETTERS):
        raise Rejected("too_many_options", f"it has {len(choices)}")
    equal = Counter(comparable(choice).casefold() for choice in choices)
    [(key, times)] = equal.most_common(1)
    if times > 1:
        raise Rejected("equal_options", f"{key!r} comes {times} times")
    keys = [comparable(choice) for choice in choices]
    if index is None and answer is not None:
        if comparable(answer) not in keys:
            raise Rejected("answer_not_an_option", f"{answer!r} is none of {choices}")
        index = keys.index(comparable(answer))
    if index is None:
        return choices, None, None
    if not 0 <= index < len(choices):
        raise Rejected("answer_not_an_option", f"there is no option {index} of {len(choices)}")
    if answer is not None and comparable(answer) != keys[index]:
        raise Rejected("answer_not_an_option", f"{answer!r} is not option {index}, {keys[index]!r}")
    return choices, choices[index], index


def checked(
    draft: Draft,
    origin: dict[str, Any],
    dataset: str,
    split: str,
    videos: Videos,
    keep: Sequence[str] = (),
) -> Question:
    """The record of a draft; raises Rejected with one of REASONS.

    Args:
        keep: reasons that do not reject: missing_video makes a question without media.
    """
    if not draft.question.strip():
        raise Rejected("empty_question", "")
    choices, answer, index = chosen(draft)
    context = dict(draft.context)
    path, medium = None, draft.media
    name = draft.videos[0] if draft.videos else None
    key = name  # of a text that stands for a video
    if medium != "text":
        try:
            path, key, medium = videos.find(draft)
        except Rejected as rejected:
            if rejected.reason not in keep:
                raise
            assert name is not None
            key, medium = video_id(dataset, name), "text"
            context["missing_video"] = name
    if medium != "frames":
        context.pop("frames", None)
    start, end = _span(draft, path, context, videos)
    return Question(
        id=draft.id,
        dataset=dataset,
        split=split,
        question=draft.question.strip(),
        video_id=key,
        video=path,
        start=start,
        end=end,
        choices=choices,
        answer=answer,
        answer_index=index,
        type=draft.type,
        references=draft.references,
        context={**context, "media": medium},
        origin=origin,
    )


def _span(
    draft: Draft, path: str | None, context: dict[str, Any], videos: Videos
) -> tuple[float | None, float | None]:
    """The part that is asked about, within the video."""
    start, end = draft.start, draft.end
    if start is None and end is None:
        return None, None
    if start is None or end is None:
        raise Rejected("missing_field", "a start needs an end, and an end a start")
    if not 0 <= start < end:
        raise Rejected("impossible_span", f"from {start:g} to {end:g} s")
    length = None
    if path is not None:
        frames = context.get("frames")
        length = videos.length(path, frames and frames["fps"])
    if length is None or end <= length:
        return start, end
    if end > length + SPAN_SLACK or start >= length:
        raise Rejected(
            "span_beyond_video", f"from {start:g} to {end:g} s, and {path} lasts {length:.2f} s"
        )
    draft.notes.append(CUT)
    return start, length


def position_imbalance(questions: Iterable[Question]) -> float:
    """How far right answers are from standing at each position equally often, in standard normal
    units; 0 where there are too few to say.

    Pearson's chi-square, summed over the numbers of options that occur; its quantile by Wilson &
    Hilferty (1931, PNAS 17, 684-688).
    """
    counts: dict[int, Counter[int]] = {}
    for question in questions:
        if question.choices and question.answer_index is not None:
            counts.setdefault(len(question.choices), Counter())[question.answer_index] += 1
    total, freedom = 0.0, 0
    for options, positions in counts.items():
        expected = positions.total() / options
        if expected >= LEAST_EXPECTED:
            total += sum((positions[p] - expected) ** 2 / expected for p in range(options))
            freedom += options - 1
    if not freedom:
        return 0.0
    spread = 2 / (9 * freedom)
    return ((total / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)


def position_warning(questions: Sequence[Question]) -> str | None:
    """What to say where right answers prefer a position; None where they do not."""
    if position_imbalance(questions) <= SUSPECT:
        return None
    positions = Counter(
        question.answer_index for question in questions if question.answer_index is not None
    )
    shares = ", ".join(f"{positions[p]:,}" for p in range(max(positions) + 1))
    return (
        f"note: right answers are not spread evenly over the positions ({shares}): a model that"
        " prefers one of them gains by it, so permute the options"
    )
