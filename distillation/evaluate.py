"""Answer the questions of a split with a trained student, in one table with controls and intervals.

    python -m distillation.evaluate exp/cater/RUN --split test
    python -m distillation.evaluate --checkpoint exp/cater/RUN --split test --no_controls

Controls are the same student with less to see: no video, no video and no question, frames in
another order; and of one that reads lines: without lines, with another training video's, with its
own in a wrong order, and with its own up to the verb. Answers go to RUN/predictions/, in the format
that `evaluate_model.py qa --predictions` reads; accuracies a video to RUN/scores/<split>.json.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distillation.inputs.lines import WITH_QUESTION
from tools.cli import add_data_root, add_foreign_flags, new_file, run_script, script_parser
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.store.files import write_json


def remarks(about: dict[str, Any], cpu_seconds: float) -> Iterator[str]:
    """What a reader must know beside the table, of student.json and of the time a question."""
    captioner, teacher = about["captioner"], about["teacher_name"]
    yield (
        f"lines: {about['prompt_variant']}{f' by {captioner}' if captioner else ''};"
        f" teacher: {about['distill_mode']}{f' by {teacher}' if teacher else ''};"
        f" labels of {about['labels']:.0%} of the videos;"
        f" {cpu_seconds * 1e3:.2f} ms of CPU a question from the cache of features"
    )
    if captioner and captioner.endswith(WITH_QUESTION):
        yield (
            "the lines' captioner was shown each question and its options, those of this split too:"
            " a part of the accuracy is its own"
        )
    if about["prompt_variant"] not in ("none", "empty"):
        yield "the lines' captioner has to run first: its cost is not in that number"


def main(argv: Sequence[str] | None = None) -> None:
    """Answer, and print the table."""
    parser = script_parser(__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="folder of a trained student")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="the same, as a flag")
    parser.add_argument(
        "--split", "--split_file", default="test", help="whose questions (default: %(default)s)"
    )
    parser.add_argument("--no_controls", action="store_true", help="leave the controls out")
    parser.add_argument("--out", type=new_file, metavar="FILE", help="also write the table as JSON")
    add_device_flag(parser)
    add_data_root(parser)
    instead = "the student knows its data set, and --split names the split"
    add_foreign_flags(parser, instead, "--data_dir")
    args = parser.parse_args(argv)
    folder = args.run or args.checkpoint
    if folder is None:
        raise UserError("name the folder of a trained student, such as exp/cater/RUN")

    from distillation.runs.answering import answer
    from qa.predictions import Prediction
    from qa.report import choice_document, choice_remarks, choice_table
    from qa.scoring import Answers, score_choices
    from tools.screen import show

    split = args.split.removesuffix(".jsonl")
    result = answer(folder, args.data_root, split, not args.no_controls, device_of(args.device))
    labelled = [q for q in result.questions if q.answer_index is not None]
    by_name = {
        name: Answers(
            folder.resolve().name,
            {key: Prediction(key, log_p=log_p) for key, log_p in answers.items()},
        )
        for name, answers in result.answers.items()
    }
    if labelled:
        controls = {name: own for name, own in by_name.items() if name is not None}
        score = score_choices(labelled, by_name[None], controls)
        show(choice_table(score, f"{result.dataset.name}/{split}"))
        for line in (*choice_remarks(score, labelled), *remarks(result.about, result.cpu_seconds)):
            print(line)
        if args.out:
            write_json(args.out, choice_document(score))
    print(folder / "predictions" / f"{split}.jsonl")


if __name__ == "__main__":
    run_script(main)
