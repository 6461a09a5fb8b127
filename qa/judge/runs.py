"""A run of the judge: the cost, the check, the verdicts that are missing, the judge's noise."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from inference.captioner import Refused
from qa.judge.asking import Content, Judge, KnownCase, disagreements
from qa.judge.verdicts import Row, VerdictFile
from qa.records import Question
from tools.errors import UserError
from tools.store.locks import sole_writer

AGREEMENT = 0.9  # with the built-in cases; a judge below it is refused
CHARACTERS_A_TOKEN = 4  # of English, about
ANSWER_TOKENS = 20  # of a verdict, about


@dataclass(frozen=True)
class Run:
    """One model's answers.

    Attributes:
        path: the file of predictions.
        contents: what is judged, one a question, in the questions' order.
    """

    path: Path
    contents: list[Content]

    @property
    def name(self) -> str:
        """What the table calls the model."""
        return self.path.name.removesuffix(".jsonl")


def judge_runs(
    judge: Judge,
    questions: Sequence[Question],
    runs: Sequence[Run],
    *,
    cases: Sequence[KnownCase] = (),
    anyway: bool = False,
    again: int = 0,
    seed: int = 0,
) -> tuple[dict[str, Row | Refused], tuple[int, int]]:
    """Judge each different content of all runs once, and keep the verdicts.

    Args:
        cases: what the judge is checked on before.
        anyway: go on where it fails.
        again: so many contents, drawn by `seed`, are judged once more.

    Returns:
        {sha1 of a content: its row, or how the server refused it}; (verdicts that changed, contents
        that were judged once more).

    Raises:
        UserError: the judge fails the check, or leaves a request unanswered.
    """
    contents = {content.sha1: content for run in runs for content in run.contents}
    ids: list[dict[str, list[str]]] = [defaultdict(list) for _ in runs]
    for run, by_content in zip(runs, ids, strict=True):
        for question, content in zip(questions, run.contents, strict=True):
            by_content[content.sha1].append(question.id)
    with ExitStack() as stack:
        files = []
        for run in runs:
            path = VerdictFile.path_of(run.path, judge.captioner.name)
            stack.enter_context(sole_writer(path))
            files.append(VerdictFile(path, judge.prompt.digest, judge.model))
            stack.callback(files[-1].close)
        rows: dict[str, Row | Refused] = {}

        def keep(sha1: str, row: Row) -> None:
            rows[sha1] = row
            for file, by_content in zip(files, ids, strict=True):
                file.add(by_content.get(sha1, []), row)

        for sha1 in contents:
            if row := next(filter(None, (file.known(sha1) for file in files)), None):
                keep(sha1, row)
        left = [sha1 for sha1 in contents if sha1 not in rows]
        again = min(again, len(contents))
        print_cost(judge, contents, len(rows), len(left) + len(cases) + again)
        if cases:
            check(judge, cases, anyway)
        for sha1, reply in judge.replies(left, lambda key: judge.messages(contents[key]), "judge"):
            if isinstance(reply, Refused):
                rows[sha1] = reply
            else:
                keep(sha1, judge.row(contents[sha1], *reply))
        return rows, flips(judge, contents, rows, again, seed)


def print_cost(judge: Judge, contents: Mapping[str, Content], known: int, requests: int) -> None:
    """Print what the run will cost, in tokens, estimated from the length of the requests."""
    texts = [
        len(part["text"])
        for content in contents.values()
        for message in judge.messages(content)
        for part in message["content"]
    ]
    prompt = round(sum(texts) / len(contents) / CHARACTERS_A_TOKEN)
    total = requests * (prompt + ANSWER_TOKENS) / 1e6
    print(
        f"{len(contents):,} different answers, {known:,} of them judged already; {requests:,}"
        f" requests of about {prompt} prompt and {ANSWER_TOKENS} answer tokens: {total:.2f} M"
        " tokens (an estimate)"
    )


def check(judge: Judge, cases: Sequence[KnownCase], anyway: bool) -> None:
    """Ask about the cases whose verdicts are known, and print how many the judge agrees with.

    Raises:
        UserError: they are less than AGREEMENT, unless `anyway`.
    """
    wrong = disagreements(judge, cases)
    agreement = 1 - len(wrong) / len(cases)
    print(f"--check: agreement {agreement:.1%} ({len(cases) - len(wrong)} of {len(cases)})")
    for case, verdict in wrong:
        content = case.content
        print(
            f"  {case.kind}: {content.question!r}, {content.answer!r}, {content.prediction!r}:"
            f" {verdict or 'no verdict'}, not {case.verdict}"
        )
    if agreement < AGREEMENT and not anyway:
        raise UserError(
            f"the judge agrees with {agreement:.1%} of the cases whose verdicts are known, and must"
            f" with {AGREEMENT:.0%}: take another judge or prompt, or pass --anyway"
        )


def flips(
    judge: Judge,
    contents: Mapping[str, Content],
    rows: Mapping[str, Row | Refused],
    number: int,
    seed: int,
) -> tuple[int, int]:
    """Judge some of the contents once more; (how many verdicts changed, how many contents)."""
    judged = sorted(sha1 for sha1, row in rows.items() if not isinstance(row, Refused))
    drawn = random.Random(seed).sample(judged, min(number, len(judged)))
    changed = 0
    for sha1, reply in judge.replies(drawn, lambda key: judge.messages(contents[key]), "again"):
        before = rows[sha1]
        assert not isinstance(before, Refused)
        changed += isinstance(reply, Refused) or reply[0].verdict != before["verdict"]
    return changed, len(drawn)
