"""Score a model on questions about videos whose answers are known.

    python evaluate_model.py qa --dataset nextqa --split val --model qwen25vl7b --controls
    python evaluate_model.py qa --dataset nextqa --split val --model qwen25vl7b --write --permute 3
    python evaluate_model.py qa --dataset nextqa --split val --predictions answers.jsonl
    python evaluate_model.py qa --dataset star --split test --model toyvl --submission star.json

Options are compared by their log p where the engine computes it (huggingface); --write, servers and
vllm list the options and read the letter or text out of the answer. Open questions are always
written. Predictions go to data/DATASET/qa/predictions/SPLIT/MODEL.jsonl, a line a question; what
has been asked is not asked again. --controls also asks the model without the video, without the
question, with shuffled frames and with one frame: a benchmark that is answered blind is said to be.

Every number has an interval of 95 %, a bootstrap over videos. Open answers get three numbers, which
are blind to different things: exact punishes sentences, contains favours long answers (so that the
mean length stands beside it), token F1 counts words and not what they say.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inference.captioner import Captioner, Sampling
from inference.models import add_model_flags, open_model
from qa.answers import Reader, made_by
from qa.asked_model import AskedModel
from qa.asking import Asking, gives_log_p, option_order
from qa.draw import draw_videos
from qa.open_scores import score_open
from qa.predictions import (
    CONTROLS,
    PERMUTED,
    benchmark_digest,
    control_names,
    control_path,
    some_ids,
)
from qa.records import Question, read_questions
from qa.report import (
    choice_document,
    choice_remarks,
    choice_table,
    open_document,
    open_remarks,
    open_table,
    settings_remarks,
)
from qa.scoring import choices_of, score_choices, score_orders
from qa.submissions import submission_format, write_document, write_submission
from tools.cli import add_data_root, add_settings, new_file, positive, settings_from, whole
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.screen import show
from tools.store.dataset import Dataset, open_dataset
from tools.video.decode import VideoError

SHOWN = 3  # failures that a message names


def add_qa_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `qa`; its `run` takes the parsed flags."""
    parser = subparsers.add_parser(
        "qa",
        help="questions about videos, with known answers",
        description=__doc__,
        allow_abbrev=False,  # --control is no --controls
    )
    parser.add_argument("--dataset", required=True, metavar="NAME", help="whose questions")
    parser.add_argument("--split", required=True, help="which of its splits, such as val")
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help='score these, a line {"id", "prediction" or null, "log_p": [...] or null} a question,'
        " and controls beside them, FILE.CONTROL.jsonl (default: ask --model)",
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE_OR_MODEL",
        help="predictions, or a model as --model, that is compared by video (default: none)",
    )
    parser.add_argument(
        "--controls",
        action="store_true",
        help=f"ask --model in the ways {', '.join(CONTROLS)} too",
    )
    parser.add_argument(
        "--permute",
        type=whole,
        default=0,
        metavar="K",
        help="ask --model with the options in K further orders, drawn for each question: what"
        " changes is bias towards positions; needs written answers (default: %(default)s)",
    )
    parser.add_argument(
        "--allow_missing",
        action="store_true",
        help="score the questions that have predictions, and a label where not all are hidden"
        " (default: refuse where some have none)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="the questions of N videos alone, drawn by --seed, each type with its share (default:"
        " all)",
    )
    parser.add_argument(
        "--submission",
        type=new_file,
        metavar="FILE",
        help="write the chosen options as the server of EgoSchema, STAR or TVQA takes them; where"
        " labels are hidden nothing is scored",
    )
    parser.add_argument(
        "--out", type=new_file, metavar="FILE", help="write the scores as JSON (default: no file)"
    )
    add_settings(parser, Asking)
    add_device_flag(parser)
    parser.add_argument(
        "--threads", type=positive, default=1, help="CPU threads to use (default: %(default)s)"
    )
    add_data_root(parser)
    add_model_flags(parser, "answers")
    parser.set_defaults(run=run_qa)


def run_qa(args: argparse.Namespace) -> None:
    """Ask and score, or score what is there.

    Raises:
        UserError: there is no such split, model or file; predictions do not fit the questions;
            labels are hidden and no submission is wanted.
    """
    dataset = open_dataset(args.dataset, args.data_root)
    everything = read_questions(dataset, args.split)
    if not everything:
        raise UserError(f"{args.dataset} has a split {args.split!r}, but no question in it")
    questions = draw_videos(everything, args.limit, args.seed)
    _check_flags(args, questions)
    hidden = sum(question.answer is None for question in questions)
    if hidden and not args.submission:
        questions = _labelled(args, questions)
    main_path = args.predictions
    if main_path is None:
        main_path = _ask(args, args.model, dataset, everything, questions, arms=_arms(args))
    reader = Reader(everything, questions, args.allow_missing)
    model = reader.read(main_path)
    if args.submission:
        unanswered = write_submission(
            args.submission,
            questions,
            {key: choice.place for key, choice in choices_of(questions, model).items()},
        )
        print(args.submission)
        if unanswered:
            print(
                f"no option is chosen in {unanswered} of {len(questions)}: the first stands for it"
            )
        if hidden:
            return
    baseline = None
    if args.baseline:
        path = Path(args.baseline)
        if not path.is_file():
            path = _ask(
                args,
                args.baseline,
                dataset,
                everything,
                questions,
                arms=[settings_from(args, Asking)],
            )
        baseline = reader.read(path)
    document: dict[str, Any] = {
        "name": model.name,
        "dataset": args.dataset,
        "split": args.split,
        "benchmark": benchmark_digest(questions),
        "predictions": model.meta,
    }
    sides = [side.predictions for side in (model, baseline) if side]
    scored = [q for q in questions if all(q.id in predictions for predictions in sides)]
    if not scored:
        raise UserError(f"{main_path} and {args.baseline} have no question in common")
    subject = f"{args.dataset}/{args.split}"
    if any(question.choices is not None for question in scored):
        controls = {
            name: reader.beside(main_path, name, model) for name in control_names(main_path)
        }
        choices = score_choices(scored, model, controls, baseline)
        numbers = range(1, args.permute + 1)
        orders = [reader.beside(main_path, f"{PERMUTED}{number}", model) for number in numbers]
        if orders:
            choices.orders.update(
                score_orders(
                    scored,
                    [model, *(answers for answers in orders if answers)],
                    lambda question, number: option_order(question, number, args.seed),
                )
            )
            if not choices.orders:
                print("--permute: no question is answered in all orders")
        show(choice_table(choices, subject))
        _print(choice_remarks(choices, scored))
        document["multiple_choice"] = choice_document(choices)
    if any(question.choices is None for question in scored):
        written = score_open(scored, model, baseline)
        show(open_table(written, subject))
        _print(open_remarks(written, scored))
        document["open"] = open_document(written)
    _print(settings_remarks(model, everything, questions))
    if args.out:
        write_document(args.out, document)
        print(args.out)


def _check_flags(args: argparse.Namespace, questions: Sequence[Question]) -> None:
    """Raise UserError where flags do not go together, or not with these questions."""
    if args.submission and args.limit:
        raise UserError("--submission needs all questions: leave --limit out")
    if args.submission:
        submission_format(args.dataset)
    if args.predictions and (args.controls or args.permute):
        raise UserError("--controls and --permute ask a model, and --predictions asks none")
    if args.subtitles and not any(question.context.get("subtitles") for question in questions):
        raise UserError(f"--subtitles: no question of {args.dataset}/{args.split} has any")
    both = {args.model, args.baseline}
    if args.predictions or len(both - {None}) == 1 or Path(args.baseline).is_file():
        return
    names = {open_model(args, model).name for model in both}
    if len(names) == 1:
        raise UserError(
            f"{args.model} and {args.baseline} would both write {names.pop()}.jsonl: --model_name"
            " gives the files of --model another name"
        )


def _labelled(args: argparse.Namespace, questions: Sequence[Question]) -> list[Question]:
    """The questions that have a label.

    Raises:
        UserError: none has, or some have none and --allow_missing does not leave them out.
    """
    labelled = [question for question in questions if question.answer is not None]
    hidden = [question.id for question in questions if question.answer is None]
    noun = "question" if len(questions) == 1 else "questions"
    subject = f"{len(hidden)} of {len(questions)} {noun} of {args.dataset}/{args.split}"
    if not labelled:
        raise UserError(
            f"the labels of {subject} are hidden: --submission FILE writes what the benchmark's"
            " server scores"
        )
    if not args.allow_missing:
        raise UserError(
            f"{subject} have no label: {some_ids(hidden)}; --allow_missing scores the others"
        )
    print(f"{subject} have no label and are left out")
    return labelled


def _arms(args: argparse.Namespace) -> list[Asking]:
    """The model as it is, its controls, and the other orders of the options."""
    controls = CONTROLS if args.controls else ()
    return [
        settings_from(args, Asking),
        *(settings_from(args, Asking, control=control) for control in controls),
        *(settings_from(args, Asking, order=number) for number in range(1, args.permute + 1)),
    ]


def _ask(
    args: argparse.Namespace,
    name: str,
    dataset: Dataset,
    everything: Sequence[Question],
    questions: Sequence[Question],
    arms: Sequence[Asking],
) -> Path:
    """Ask a model in all these ways; returns where its predictions are."""
    captioner = open_model(args, name)
    if args.permute and gives_log_p(captioner) and not args.write:
        raise UserError("--permute needs --write: log p is computed without listing the options")
    captioner.check(args.device, Sampling.greedy(args.max_new_tokens), args.frames)
    session = AskedModel(
        captioner,
        lambda: captioner.load(device_of(args.device), args.threads),
        lambda question: video_path(dataset, question),
        args.threads,
    )
    path = dataset.predictions(args.split, captioner.name)
    meta = {
        "dataset": args.dataset,
        "split": args.split,
        "model": captioner.name,
        "limit": args.limit,
        "benchmark": benchmark_digest(everything),
        "made_by": made_by(captioner),
    }
    with dataset.lock(f"predictions-{args.split}-{captioner.name}"):
        for asking in arms:
            # Controls and orders are about options: open questions have none.
            own = [q for q in questions if asking.arm is None or q.choices is not None]
            if own:
                out = control_path(path, asking.arm)
                _report_failures(captioner, asking, session.ask(asking, own, out, meta), len(own))
    print(path)
    return path


def _report_failures(
    captioner: Captioner,
    asking: Asking,
    failures: Sequence[tuple[Question, Exception]],
    count: int,
) -> None:
    """Say which questions could not be asked: they have no prediction."""
    if failures:
        reasons = "; ".join(f"{question.id}: {error}" for question, error in failures[:SHOWN])
        more = "; ..." if len(failures) > SHOWN else ""
        way = f" ({asking.arm})" if asking.arm else ""
        print(
            f"{captioner.name}{way}: {len(failures)} of {count} questions have no answer"
            f" ({reasons}{more})",
            file=sys.stderr,
        )


def video_path(dataset: Dataset, question: Question) -> Path:
    """Where the video of a question is: as the data set's init.jsonl lists it, else in its folder
    of videos.

    Raises:
        VideoError: the question has none.
    """
    if question.video is None:
        raise VideoError("no video: the question has none")
    place = (dataset.video_dir() or Path()) / question.video
    return dataset.video_path({"video_id": question.video_id, "video_path": str(place)})


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line)
