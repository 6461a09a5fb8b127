"""Score a model: on the toy world, on questions, on real benchmarks; or have its answers judged.

    python evaluate_model.py toy --model toyvl                        # a table, 95 % intervals
    python evaluate_model.py toy --model FOLDER --baseline toyvl      # the paired difference too
    python evaluate_model.py toy --model a.json --baseline b.json     # of scores made before
    python evaluate_model.py benchmark --tasks vinoground --model qwen2vl7b
    python evaluate_model.py qa --dataset nextqa --split val --model qwen25vl7b --controls
    python evaluate_model.py judge --predictions answers.jsonl --dataset msvdqa --split test ...

Each command has its own `--help`, such as `python evaluate_model.py toy --help`.
"""

import sys
from collections.abc import Sequence
from functools import partial

from tools.cli import run_script, script_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command named on the command line."""
    argv = sys.argv[1:] if argv is None else argv
    parser = script_parser(__doc__)
    commands = parser.add_subparsers(
        title="commands",
        required=True,
        metavar="COMMAND",
        # Their help looks as that of any script.
        parser_class=partial(type(parser), formatter_class=parser.formatter_class),  # type: ignore
    )
    # Only the command that runs is imported.
    if "toy" in argv[:1]:
        from evaluation.toy.benchmark import add_toy_parser

        add_toy_parser(commands)
    elif "benchmark" in argv[:1]:
        from evaluation.public.benchmarks import add_benchmark_parser

        add_benchmark_parser(commands)
    elif "qa" in argv[:1]:
        from qa.evaluate import add_qa_parser

        add_qa_parser(commands)
    elif "judge" in argv[:1]:
        from qa.judge.command import add_judge_parser

        add_judge_parser(commands)
    else:
        commands.add_parser("toy", help="held-out stories of the toy world")
        commands.add_parser("benchmark", help="public video benchmarks, through lmms-eval")
        commands.add_parser("qa", help="questions about videos, with known answers")
        commands.add_parser("judge", help="a language model judges written answers")
    args = parser.parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    run_script(main)
