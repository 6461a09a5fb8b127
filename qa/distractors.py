"""Multiple choice out of open questions: wrong options of the right answer's own kind.

The kind is one of number, colour, yes_no, who, verb and noun: by the answer where it is a number, a
colour, yes or no; else by the question word; else by what most questions say that have the same
answer. Wrong options are answers to other questions, drawn as often as they are right there, so
that a rare right answer does not stand out among frequent wrong ones. Where the answers come from a
pool, such as the training set, a share of the right ones is not in it: wrong options come from
outside the pool with the same probability.
"""

import random
import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from qa.checks import comparable
from qa.matching import normalise
from qa.records import Question

KINDS = ("number", "colour", "yes_no", "who", "verb", "noun")
WORDS = {
    "yes_no": "yes no",
    "number": "zero one two three four five six seven eight nine ten eleven twelve thirteen"
    " fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty hundred",
    "colour": "red orange yellow green blue purple violet pink brown black white gray grey gold"
    " golden silver beige tan blond blonde",
}
KIND_OF_WORD = {word: kind for kind, words in WORDS.items() for word in words.split()}
QUESTION_KINDS = (
    ("number", re.compile(r"how (many|much|old|long|often)\b")),
    ("colour", re.compile(r"(what|which) (is |are )?(the |)colou?rs?\b")),
    ("who", re.compile(r"who(m|se)?\b")),
    ("verb", re.compile(r"what\b.*\b(do|doing|done|did)\W*$")),
)
# An answer's kind follows from its questions where at least this share of them says so.
MAJORITY = 0.5
TRIES = 50  # draws an option, before every answer of the kind is looked at


class AnswerPool:
    """Answers of one kind, with how often each is right."""

    def __init__(self, counts: Counter[str]) -> None:
        self.texts = sorted(counts)
        self.sums = list(accumulate(counts[text] for text in self.texts))

    def draw(self, rng: random.Random) -> str:
        """One of them, in proportion to how often it is right."""
        return self.texts[bisect(self.sums, rng.random() * self.sums[-1])]


def kind_by_rule(question: str, answer: str) -> str | None:
    """The kind of an answer, where the answer or the question word says it."""
    word = comparable(answer).lower()
    if word.isdigit():
        return "number"
    if word in KIND_OF_WORD:
        return KIND_OF_WORD[word]
    lowered = question.strip().lower()
    return next((kind for kind, shape in QUESTION_KINDS if shape.match(lowered)), None)


class Kinds:
    """The kinds of the answers to questions, learned from (question, answer) pairs."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        by_rule: dict[str, Counter[str | None]] = defaultdict(Counter)
        for question, answer in pairs:
            by_rule[comparable(answer)][kind_by_rule(question, answer)] += 1
        self._usual = {}
        for answer, kinds in by_rule.items():
            [(kind, count)] = kinds.most_common(1)
            if kind and count >= MAJORITY * kinds.total():
                self._usual[answer] = kind

    def of(self, question: str, answer: str) -> str:
        """The kind of an answer to a question."""
        kind = kind_by_rule(question, answer)
        return kind or self._usual.get(comparable(answer), "noun")


def with_choices(
    questions: Sequence[Question], pool: Sequence[tuple[str, str]], count: int, seed: int
) -> tuple[list[Question], list[Question]]:
    """Open questions as multiple choice, the options in a random order.

    Args:
        questions: with their answers; those that have options, or no answer, stay as they are.
        pool: (question, answer) pairs that wrong options come from; none: from `questions`.
        count: of options; there are fewer where a kind has fewer answers, such as yes and no.
        seed: what a question gets depends on it and on the question's id.

    Returns:
        The questions, and those that no other answer of their kind is known for.
    """
    ours = [q for q in questions if q.choices is None and q.answer is not None]
    pairs = [(q.question, q.answer or "") for q in ours]
    kinds = Kinds(pool or pairs)
    inside: dict[str, Counter[str]] = defaultdict(Counter)
    outside: dict[str, Counter[str]] = defaultdict(Counter)
    for question, answer in pool or pairs:
        inside[kinds.of(question, answer)][comparable(answer)] += 1
    for question, answer in pairs:
        kind, text = kinds.of(question, answer), comparable(answer)
        if text not in inside[kind]:
            outside[kind][text] += 1
    right = Counter(kinds.of(question, answer) for question, answer in pairs)
    # What is right of another row with the same question about the same video is not wrong here.
    also_right: dict[tuple[str, str], set[str]] = defaultdict(set)
    for q in ours:
        texts = {meaning(text) for text in (q.answer or "", *q.references)}
        also_right[q.unit, q.question.lower()] |= texts

    tables = {
        kind: [AnswerPool(counts) if counts else None for counts in (inside[kind], outside[kind])]
        for kind in KINDS
    }
    shares = {kind: outside[kind].total() / number for kind, number in right.items()}
    made, without = [], []
    for q in questions:
        if q.choices is not None or q.answer is None:
            made.append(q)
            continue
        kind = kinds.of(q.question, q.answer)
        rng = random.Random(f"{seed}/{q.id}")
        not_wrong = also_right[q.unit, q.question.lower()]
        wrong = _draw(rng, tables[kind], shares[kind], not_wrong, count - 1)
        if not wrong:
            without.append(q)
            continue
        answer = comparable(q.answer)
        choices = rng.sample([answer, *wrong], len(wrong) + 1)
        index = choices.index(answer)
        context = {**q.context, "answer_kind": kind}
        made.append(replace(q, choices=choices, answer=answer, answer_index=index, context=context))
    return made, without


def _draw(
    rng: random.Random,
    tables: Sequence[AnswerPool | None],
    share: float,
    not_wrong: set[str],
    count: int,
) -> list[str]:
    """Wrong answers of different meanings, from outside the pool with the given probability each.

    Args:
        not_wrong: the meanings of right answers.
    """
    inside, outside = tables
    wrong: dict[str, str] = {}  # meaning -> text
    known = sum(len(table.texts) for table in tables if table)
    for _ in range(TRIES * count if known > count + len(not_wrong) else 0):
        if len(wrong) == count:
            return list(wrong.values())
        table = outside if inside is None or (outside and rng.random() < share) else inside
        text = table.draw(rng) if table else None
        if text and meaning(text) not in not_wrong:
            wrong.setdefault(meaning(text), text)
    # A few answers are nearly always right, or there are too few: take any that are left.
    every = [text for table in tables if table for text in table.texts]
    for text in rng.sample(every, len(every)):
        if len(wrong) < count and meaning(text) not in not_wrong:
            wrong.setdefault(meaning(text), text)
    return list(wrong.values())


def meaning(text: str) -> str:
    """What equal answers share: their normalised text; signs alone stay as they are."""
    return normalise(text) or text.strip()
