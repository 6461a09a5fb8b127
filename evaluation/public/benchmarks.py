"""Score a model on public video benchmarks, through lmms-eval.

    python evaluate_model.py benchmark --tasks vinoground,tempcompass --model qwen2vl7b
    python evaluate_model.py benchmark --tasks videomme,mlvu,mvbench --model exp/m/...
    python evaluate_model.py benchmark --tasks toy_order --include_path DIR --model toyvl

lmms-eval has an environment of its own (requirements-lmms-eval.txt), fetches each benchmark's data
from the Hugging Face hub, and asks its questions; any of its tasks may be named. Scores are shares
of right answers as lmms-eval counts them, with the frames, frames a second and pixels they were
got with. One benchmark is run after the other; the same command again goes on with those that have
no score in --out yet, or one that was got with other frames, pixels or questions.

Not run here: the public benchmarks themselves, whose data are on the hub. What was run is a task of
our own; and lmms-eval's scoring of each benchmark, on made-up answers.
"""

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.public.lmms import (
    CLASSES,
    LmmsClass,
    Seen,
    ask,
    frame_pixels,
    open_lmms,
    run,
)
from evaluation.public.scores import benchmark_entry, benchmark_table, read_document
from evaluation.scores import show
from evaluation.toy.benchmark import add_device_flag, device_of
from inference.captioner import Model
from inference.checkpoints import check_checkpoint, config_of, digest, local_folder
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.models import models, open_captioner
from tools.cli import amount, new_file, positive
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.store.files import write_json

FRAMES = 32  # lmms-eval's own default, and so that of most published scores
FPS = 1.0  # as in training
SCORES = REPOSITORY / "exp" / "benchmarks"
NEAR = 5  # names that are offered for one that is not known


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by the name people know it by.

    Attributes:
        tasks: lmms-eval's names of what it is made of.
        whole: why it cannot be scored on some of its questions; None where it can.
        remark: what a reader of its score must know; None where nothing.
    """

    tasks: tuple[str, ...]
    whole: str | None = None
    remark: str | None = None


BENCHMARKS = {
    "vinoground": Benchmark(("vinoground",), whole="counts pairs of videos, all 500"),
    # Its fourth, tempcompass_captioning, is ChatGPT's to judge.
    "tempcompass": Benchmark(
        ("tempcompass_multi_choice", "tempcompass_yes_no", "tempcompass_caption_matching"),
        remark="mean of 3 of its 4 tasks (tempcompass_captioning needs OPENAI_API_KEY); without"
        " that key an answer that no rule can read counts as wrong",
    ),
    "videomme": Benchmark(("videomme",), remark="without subtitles"),
    "mlvu": Benchmark(
        ("mlvu_dev",), whole="is the mean of 7 types of questions", remark="multiple choice, dev"
    ),
    "mvbench": Benchmark(("mvbench",), remark="mean of its 20 tasks; empty answers are left out"),
    "longvideobench": Benchmark(
        ("longvideobench_val_v",),
        remark="validation, frames without subtitles; an answer that names no option is drawn",
    ),
}


def add_benchmark_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `benchmark`; its `run` takes the parsed flags."""
    parser = subparsers.add_parser(
        "benchmark", help="public video benchmarks, through lmms-eval", description=__doc__
    )
    parser.add_argument(
        "--tasks",
        required=True,
        metavar="NAME,...",
        help=f"any of {', '.join(BENCHMARKS)}, and of lmms-eval's own names",
    )
    parser.add_argument(
        "--model",
        default="qwen2vl7b",
        help=f"one of {', '.join(models())}; or a checkpoint, by its folder or its id on the"
        " Hugging Face hub (default: %(default)s)",
    )
    parser.add_argument(
        "--model_name",
        metavar="NAME",
        help="what to call a checkpoint (default: the last part of its folder or id)",
    )
    parser.add_argument(
        "--fps",
        type=amount,
        metavar="X",
        help=f"frames taken a second (default: {FPS}; LLaVA-OneVision and InternVL are shown"
        " --max_frames of every video)",
    )
    parser.add_argument(
        "--max_frames",
        type=positive,
        default=FRAMES,
        metavar="N",
        help="frames of a video at most; of a longer one so many, evenly spaced (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--max_pixels",
        type=positive,
        metavar="N",
        help="pixels of a frame at most, width x height (default: its family's in models.yaml)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="only the first N questions of each task, to try things out (default: all)",
    )
    parser.add_argument(
        "--out",
        type=new_file,
        metavar="FILE",
        help="scores, .json, with every answer in the folder FILE.lmms (default:"
        " exp/benchmarks/<model>.json)",
    )
    parser.add_argument(
        "--include_path",
        type=Path,
        metavar="DIR",
        help="folder of tasks of your own in lmms-eval's format (default: none)",
    )
    add_device_flag(parser)
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="Python of lmms-eval's environment (default: LMMS_EVAL_PYTHON, else .venv-lmms-eval in"
        " the repository, else this one)",
    )
    parser.set_defaults(run=run_benchmark)


def run_benchmark(args: argparse.Namespace) -> None:
    """Run what has no score yet, one benchmark after the other, and print the table.

    Raises:
        UserError: no such model or task, lmms-eval is not there, or a benchmark could not be run.
    """
    names = list(dict.fromkeys(filter(None, args.tasks.split(","))))
    include = args.include_path and args.include_path.resolve()
    if include and not include.is_dir():
        raise UserError(f"--include_path {args.include_path}: no such folder")
    python, versions = open_lmms(args.python)
    check_tasks(names, args.limit, python, versions, include)
    model = open_checkpoint(args.model, args.model_name)
    folder = local_folder(str(model.checkpoint))
    kind = class_of(model, folder)
    seen = shown(args, model, kind, folder)
    device = device_of(args.device)

    out = (args.out or SCORES / f"{model.name}.json").resolve()
    weights = digest(str(model.checkpoint))
    read = partial(read_document, out, args.model, model.name, weights, versions)
    document = read()
    settings = {**asdict(seen), "limit": args.limit}
    failed = {}
    for name in names:
        made = document["tasks"].get(name, {})
        if made and settings == {key: made.get(key) for key in settings}:
            continue
        print(f"{name}: {seen_in_words(seen)}", flush=True)
        try:
            answer = run(
                python,
                kind,
                folder,
                BENCHMARKS[name].tasks if name in BENCHMARKS else (name,),
                seen,
                device,
                limit=args.limit,
                include_path=include,
                gen_kwargs=f"max_new_tokens={model.max_new_tokens}" if model.reasoning else None,
            )
        except UserError as error:
            failed[name] = str(error)
            continue
        write_json(out.with_name(f"{out.name}.lmms") / f"{name}.json", answer)
        document = read()  # Another run may have added to it.
        document["tasks"][name] = {**benchmark_entry(answer), **settings}
        write_json(out, document)
    show(benchmark_table(document, names, failed))
    for remark in remarks(document, names, failed):
        print(remark)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} benchmarks not run: {', '.join(failed)}; the same"
            " command tries them again"
        )
    print(out)


def check_tasks(
    names: Sequence[str],
    limit: int | None,
    python: str,
    versions: Mapping[str, str],
    include: Path | None,
) -> None:
    """Check that these benchmarks can be run with this limit.

    Raises:
        UserError: lmms-eval does not know one, or it cannot be scored in parts.
    """
    if not names:
        raise UserError(f"--tasks names nothing; it may be {', '.join(BENCHMARKS)}")
    for name in BENCHMARKS.keys() & set(names):
        if limit and BENCHMARKS[name].whole:
            raise UserError(f"--limit {limit}: {name} {BENCHMARKS[name].whole}: leave --limit out")
    # To list its tasks lmms-eval takes ten seconds: those of BENCHMARKS it has.
    others = [name for name in names if name not in BENCHMARKS]
    known = ask(python, "tasks", include_path=include) if others else []
    for name in others:
        if name not in known:
            near = difflib.get_close_matches(name, {*BENCHMARKS, *known}, NEAR)
            raise UserError(
                f"--tasks: lmms-eval {versions['lmms-eval']} has no task {name!r}; near it:"
                f" {', '.join(near or BENCHMARKS)}"
            )


def open_checkpoint(model: str, name: str | None) -> Model:
    """The model that --model names, whose weights are there; nothing is loaded.

    Raises:
        UserError: there is none, or it is no checkpoint.
    """
    captioner = open_captioner(model, name=name)
    if not isinstance(captioner, HuggingFaceCaptioner):
        raise UserError(
            f"--model {model}: lmms-eval runs checkpoints: give a name, a folder or an id on the"
            " hub"
        )
    check_checkpoint(captioner.checkpoint)
    return captioner.model


def class_of(model: Model, folder: Path) -> LmmsClass:
    """The class of lmms-eval that shows videos to a checkpoint.

    Raises:
        UserError: it has none.
    """
    model_type = config_of(str(folder))["model_type"]
    if model_type not in CLASSES:
        raise UserError(
            f"--model {model.name}: lmms-eval has no class that shows videos to a model_type of"
            f" {model_type!r}; it has for {', '.join(CLASSES)}"
        )
    return CLASSES[model_type]


def shown(args: argparse.Namespace, model: Model, kind: LmmsClass, folder: Path) -> Seen:
    """How videos are going to be shown.

    Raises:
        UserError: a flag does not go with the model.
    """
    for flag, value, heard in (
        ("fps", args.fps, kind.fps),
        ("max_pixels", args.max_pixels, kind.pixels),
    ):
        if value is not None and not heard:
            raise UserError(
                f"--{flag} {value}: lmms-eval's class of {model.name} ({kind.name}) has no such"
                " argument"
            )
    fps = (args.fps or FPS) if kind.fps else None
    pixels = (args.max_pixels or model.max_pixels) if kind.pixels else None
    if kind.resizes and pixels:
        least, most = frame_pixels(folder)
        if pixels < least:
            raise UserError(
                f"--max_pixels {pixels}: the processor of {model.name} shows no frame at fewer than"
                f" {least}"
            )
        pixels = min(pixels, most)
    return Seen(args.max_frames, fps, pixels)


def remarks(
    document: Mapping[str, Any], names: Sequence[str], failed: Mapping[str, str]
) -> Iterator[str]:
    """Lines below the table: what must be known of a score, and why there is none."""
    for name in names:
        if name in failed:
            yield f"{name}: not run: {failed[name]}"
            continue
        one = document["tasks"][name]
        if one["samples"] < one["questions"]:
            yield f"{name}: {one['samples']} of {one['questions']} questions: no score to compare"
        if one["empty"]:
            yield f"{name}: {one['empty']} answers are empty, also where lmms-eval met an error"
        if name in BENCHMARKS and BENCHMARKS[name].remark:
            yield f"{name}: {BENCHMARKS[name].remark}"


def seen_in_words(seen: Seen) -> str:
    """How videos are shown, for a line of output."""
    rate = f", {seen.fps:g} a second" if seen.fps else ", evenly spaced"
    pixels = f", of at most {seen.max_pixels:,} pixels" if seen.max_pixels else ""
    return f"at most {seen.frames} frames{rate}{pixels}"
