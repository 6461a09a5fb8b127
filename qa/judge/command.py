"""Let a language model judge written answers to questions about videos.

    python evaluate_model.py judge --predictions a.jsonl --dataset msvdqa --split test \\
        --judge gpt-4o-mini@https://api.openai.com/v1 --check
    python evaluate_model.py judge --predictions a.jsonl --baseline b.jsonl --again 200 \\
        --dataset msvdqa --split test --judge mine@http://localhost:8000/v1
    python evaluate_model.py judge --predictions a.jsonl --dataset toyqa --split test --judge FOLDER

The judge sees the question, the right answer and the prediction, and says whether they match (yes
or no) and how well (0 to 5), as in Video-ChatGPT's protocol. It is any server that speaks OpenAI's
chat API, whose key OPENAI_API_KEY holds, a model of models.yaml or a checkpoint. Verdicts are kept
beside the predictions: the same command goes on where a run was stopped, and what was judged is not
judged again. Judged numbers compare only with numbers of the same judge in the same table.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from qa.draw import draw_videos
from qa.judge.asking import Content, known_cases, open_judge
from qa.judge.report import print_report
from qa.judge.runs import Run, judge_runs
from qa.judge.verdicts import judged_texts
from qa.predictions import Prediction, read_predictions
from qa.records import Question, read_questions
from tools.cli import add_data_root, positive
from tools.errors import UserError
from tools.runner.devices import add_device_flag
from tools.store.dataset import open_dataset
from tools.text.judging import JudgePrompt, read_judge_prompt

CONCURRENCY = 32
MAX_NEW_TOKENS = 128  # a verdict takes about 20


def add_judge_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `judge`; its `run` takes the parsed flags."""
    parser = subparsers.add_parser(
        "judge", help="a language model judges written answers", description=__doc__
    )
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="FILE", help="the answers to judge"
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="a second model's answers, which are judged too; the table shows the paired"
        " difference (default: none)",
    )
    parser.add_argument("--dataset", required=True, help="the dataset that was asked about")
    parser.add_argument("--split", required=True, help="the split of its questions")
    parser.add_argument(
        "--judge",
        required=True,
        metavar="MODEL",
        help="NAME@URL, any OpenAI-compatible server; a name of models.yaml; or a checkpoint",
    )
    parser.add_argument(
        "--prompt",
        type=read_judge_prompt,
        default=JudgePrompt(),
        metavar="FILE.yaml",
        help="another wording: the texts `system` and `user`, with {question}, {answer},"
        " {prediction} and, if --check is to ask for both orders of the reply's keys, {form}"
        " (default: tools/text/judge.yaml)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="first ask about 40 built-in cases whose verdicts are known, and stop where the judge"
        " agrees in less than 90 %% of them",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="go on with a judge that fails --check"
    )
    parser.add_argument(
        "--again",
        type=positive,
        metavar="N",
        help="judge N answers once more, and print the share whose verdict changes (default: none)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="the answers about N videos alone, drawn by --seed, each type with its share (default:"
        " all)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of --limit and --again (default: %(default)s)"
    )
    parser.add_argument(
        "--allow_missing",
        action="store_true",
        help="leave out questions without a prediction (default: they are an error)",
    )
    parser.add_argument(
        "--concurrency",
        type=positive,
        default=CONCURRENCY,
        help="requests in flight at a server (default: %(default)s)",
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        default=MAX_NEW_TOKENS,
        help="longest reply, tokens; a judge that thinks first needs more (default: %(default)s)",
    )
    add_device_flag(parser)
    parser.add_argument(
        "--threads",
        type=positive,
        default=1,
        help="CPU threads of a local judge (default: %(default)s)",
    )
    add_data_root(parser)
    parser.set_defaults(run=run_judge)


def run_judge(args: argparse.Namespace) -> None:
    """Judge one file of predictions, or two, and print the table.

    Raises:
        UserError: the predictions do not fit the questions or cannot be judged; the judge cannot be
            asked, or fails --check.
    """
    paths = [args.predictions, *([args.baseline] if args.baseline else [])]
    if args.baseline and args.baseline.resolve() == args.predictions.resolve():
        raise UserError(f"--baseline {args.baseline} is --predictions: name another model's file")
    everything = read_questions(open_dataset(args.dataset, args.data_root), args.split)
    if not everything:
        raise UserError(f"{args.dataset} has a split {args.split!r}, but no question in it")
    questions = draw_videos(everything, args.limit, args.seed)
    given = [_read(path, everything, questions, args.allow_missing) for path in paths]
    questions = [q for q in questions if all(q.id in predictions for predictions in given)]
    _check_labels(args, questions)
    runs = [
        Run(path, [Content(*judged_texts(q, predictions[q.id])) for q in questions])
        for path, predictions in zip(paths, given, strict=True)
    ]
    judge = open_judge(
        args.judge,
        args.prompt,
        concurrency=args.concurrency,
        max_new_tokens=args.max_new_tokens,
        device=args.device,
        threads=args.threads,
    )
    rows, flipped = judge_runs(
        judge,
        questions,
        runs,
        cases=known_cases(args.prompt.forms) if args.check else [],
        anyway=args.anyway,
        again=args.again or 0,
        seed=args.seed,
    )
    print_report(judge, questions, runs, rows, flipped)


def _read(
    path: Path, everything: Sequence[Question], questions: Sequence[Question], allow_missing: bool
) -> dict[str, Prediction]:
    """The predictions of some of a split's questions.

    Raises:
        UserError: see `read_predictions`; or a prediction is a choice of an option alone.
    """
    is_part = len(questions) < len(everything)
    predictions = read_predictions(path, everything, allow_missing or is_part)
    own = {q.id: predictions[q.id] for q in questions if q.id in predictions}
    if len(own) < len(questions) and not allow_missing:
        raise UserError(
            f"{path} lacks {len(questions) - len(own)} of the {len(questions)} questions that"
            " --limit draws; --allow_missing judges the others"
        )
    without = sum(p.prediction is None and p.log_p is not None for p in own.values())
    if without:
        raise UserError(
            f"{path}: {without} of {len(own)} predictions have log p and no text, and a judge reads"
            " texts: evaluate_model.py qa scores them"
        )
    return own


def _check_labels(args: argparse.Namespace, questions: Sequence[Question]) -> None:
    """Raise UserError where there is nothing to judge, or a question's answer is not public."""
    where = f"{args.dataset}/{args.split}"
    if not questions:
        raise UserError(f"no question of {where} has a prediction in every file")
    if hidden := sum(question.answer is None for question in questions):
        raise UserError(
            f"the labels of {hidden} of {len(questions)} questions of {where} are hidden:"
            " evaluate_model.py qa --submission FILE writes what the benchmark's server scores"
        )
