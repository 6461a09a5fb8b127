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
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.public.lmms import BENCHMARKS, CLASSES, LmmsClass, Seen, ask, open_lmms, run
from evaluation.public.scores import benchmark_entry, benchmark_table, read_document
from inference.captioner import Model
from inference.checkpoints import check_checkpoint, config_of, digest, local_folder, own_video_size
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.models import models, open_captioner
from tools.cli import amount, new_file, positive
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.screen import show
from tools.store.dataset import REPOSITORY
from tools.store.files import write_json

FRAMES = 32  # lmms-eval's own default, and so that of most published scores
FPS = 1.0  # as in training
PROCESSOR_PIXELS = (128 * 28 * 28, 768 * 28 * 28)  # transformers' Qwen2VLVideoProcessor, unasked
SCORES = REPOSITORY / "exp" / "benchmarks"
NEAR = 5  # names that are offered for one that is not known


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
        help=f"frames taken a second (default: {FPS}; LLaVA-OneVision and InternVL are shown"
        " --max_frames of every video)",
    )
    parser.add_argument(
        "--max_frames",
        type=positive,
        default=FRAMES,
        help="frames of a video at most; of a longer one so many, evenly spaced (default:"
        " %(default)s)",
    )
    parser.add_argument(
        "--max_pixels",
        type=positive,
        help="pixels of a frame at most, width x height (default: its family's in models.yaml)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
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
    model, folder, kind = open_checkpoint(args.model, args.model_name)
    seen = shown(args, model, kind, folder)
    device = device_of(args.device)

    out = (args.out or SCORES / f"{model.name}.json").resolve()
    weights = digest(str(model.checkpoint))
    read = partial(read_document, out, args.model, model.name, weights, versions)
    document = read()
    settings = {**asdict(seen), "limit": args.limit}
    failed = {}
    for name in names:
        if settings.items() <= document["tasks"].get(name, {}).items():
            continue
        print(f"{name}: {seen}", flush=True)
        tasks = BENCHMARKS[name]["tasks"] if name in BENCHMARKS else [name]
        generation = f"max_new_tokens={model.max_new_tokens}" if model.reasoning else None
        flags = {"limit": args.limit, "include_path": include, "gen_kwargs": generation}
        try:
            answer = run(python, kind, folder, tasks, seen, device, **flags)
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
    """Raise a UserError where lmms-eval does not know a task, or cannot score it in parts."""
    if not names:
        raise UserError(f"--tasks names nothing; it may be {', '.join(BENCHMARKS)}")
    for name in names:
        if limit and (why := BENCHMARKS.get(name, {}).get("whole")):
            raise UserError(f"--limit {limit}: {name} {why}: leave --limit out")
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


def open_checkpoint(model: str, name: str | None) -> tuple[Model, Path, LmmsClass]:
    """The model that --model names, its folder, and the class of lmms-eval that shows videos to it;
    a UserError where one of these is missing. Nothing is loaded.
    """
    captioner = open_captioner(model, name=name)
    if not isinstance(captioner, HuggingFaceCaptioner):
        what = "give a name, a folder or an id on the hub"
        raise UserError(f"--model {model}: lmms-eval runs checkpoints: {what}")
    check_checkpoint(captioner.checkpoint)
    model_type = config_of(captioner.checkpoint)["model_type"]
    if model_type not in CLASSES:
        raise UserError(
            f"--model {captioner.name}: lmms-eval has no class that shows videos to a model_type of"
            f" {model_type!r}; it has for {', '.join(CLASSES)}"
        )
    return captioner.model, local_folder(captioner.checkpoint), CLASSES[model_type]


def shown(args: argparse.Namespace, model: Model, kind: LmmsClass, folder: Path) -> Seen:
    """How videos are going to be shown; a UserError where a flag does not go with the model."""
    for flag, has_argument in (("fps", kind.fps), ("max_pixels", kind.pixels)):
        value = getattr(args, flag)
        if value is not None and not has_argument:
            raise UserError(
                f"--{flag} {value}: lmms-eval's class of {model.name} ({kind.name}) has no such"
                " argument"
            )
    fps = (args.fps or FPS) if kind.fps else None
    pixels = (args.max_pixels or model.max_pixels) if kind.pixels else None
    if kind.resizes and pixels:
        # What lmms-eval asks for has no effect where the checkpoint's own processor says a `size`.
        own = own_video_size(str(folder))
        least = own.get("shortest_edge") or PROCESSOR_PIXELS[0]
        if pixels < least:
            raise UserError(
                f"--max_pixels {pixels}: the processor of {model.name} shows no frame at fewer than"
                f" {least}"
            )
        pixels = min(pixels, own.get("longest_edge") or PROCESSOR_PIXELS[1])
    return Seen(args.max_frames, fps, pixels)


def remarks(
    document: Mapping[str, Any], names: Sequence[str], failed: Mapping[str, str]
) -> Iterator[str]:
    """Lines below the table: what must be known of a score, and why there is none."""
    for name in names:
        if name in failed:
            yield f"{name}: not run: {failed[name]}"
            continue
        entry = document["tasks"][name]
        answered, questions = entry["samples"], entry["questions"]
        if answered < questions:
            yield f"{name}: {answered} of {questions} questions: no score to compare"
        if entry["empty"]:
            yield f"{name}: {entry['empty']} answers are empty, also where lmms-eval met an error"
        if remark := BENCHMARKS.get(name, {}).get("remark"):
            yield f"{name}: {remark}"
