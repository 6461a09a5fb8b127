"""Score a model on the toy world's held-out stories, where everything is known.

    python -m toyworld --videos 90 --events 4,8,16 --seed 101 --out data/toytest
    python evaluate_model.py toy --model toyvl --out scores.json
    python evaluate_model.py toy --model exp/m/outputs/STAGE/v0/checkpoint-9-merged --baseline toyvl
    python evaluate_model.py toy --model qwen25vl7b@http://localhost:8000/v1
    python evaluate_model.py toy --model scores.json --baseline other.json      # nothing is run

Asks for a description of each whole video (which events it mentions, and in which order), what
happens right after and right before an event, and captions of single clips, all greedily; and
whether the true narrative is more likely than one reversed, with its halves or two neighbours
swapped, or with half of its events dropped. --baseline shows the difference of two models, paired
by video. Any model's English is read; an answer without an event of the world recalls nothing.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from evaluation.scores import Scores, comparison, read_scores, table, with_intervals
from evaluation.toy.counts import (
    clip_counts,
    description_counts,
    neighbour_counts,
    preference_counts,
)
from evaluation.toy.events import find_events
from evaluation.toy.questions import Case, benchmark_digest, questions_about
from evaluation.toy.stories import HELD_OUT, MAKE, look, read_stories
from inference.captioner import Answer, Captioner, Request, Sampling, answer_groups
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.likelihood import LogLikelihood, log_likelihoods
from inference.models import add_model_flags, open_model
from tools.cli import add_data_root, new_file, positive
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.screen import show
from tools.statistics import check_same_videos
from tools.store.files import write_json
from tools.text.answers import parse_clip_caption, parse_response

AnswerOrLikelihood = TypeVar("AnswerOrLikelihood")

MAX_NEW_TOKENS = 1024  # a 7B model's description of 16 events takes about half of them


def add_toy_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `toy`; its `run` takes the parsed flags."""
    parser = subparsers.add_parser(
        "toy", help="held-out stories of the toy world", description=__doc__
    )
    parser.add_argument(
        "--baseline",
        metavar="MODEL",
        help="a second model, named as --model is; either may be a score file (.json) made earlier"
        " (default: none)",
    )
    parser.add_argument(
        "--dataset",
        default=HELD_OUT,
        metavar="NAME",
        help="folder of stories under the data root (default: %(default)s, made by"
        f" {MAKE.format(folder='data/' + HELD_OUT)})",
    )
    parser.add_argument(
        "--out",
        type=new_file,
        metavar="FILE",
        help="score file of --model to write, .json (default: the table alone)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        help="only the first N stories in the order of their names (default: all)",
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        default=MAX_NEW_TOKENS,
        help="longest answer, tokens; a model that thinks first needs more (default: %(default)s)",
    )
    add_device_flag(parser)
    parser.add_argument(
        "--threads",
        type=positive,
        default=1,
        help="CPU threads to use (default: %(default)s)",
    )
    add_data_root(parser)
    add_model_flags(parser, "answers")
    parser.set_defaults(run=run_toy)


def run_toy(args: argparse.Namespace) -> None:
    """Score one model, or two, and print the table.

    Raises:
        UserError: there is no such model, dataset or score file; two models were asked differently.
    """
    if args.out and is_score_file(args.model):
        raise UserError(f"--out {args.out}: nothing is run where --model is a score file")
    named = [args.model, *([args.baseline] if args.baseline else [])]
    # Score files are read first: a run must not end in finding one of them broken.
    scored = {name: read_scores(Path(name)) for name in named if is_score_file(name)}
    captioners = {name: open_model(args, name) for name in named if name not in scored}
    sampling = Sampling.greedy(args.max_new_tokens)
    if captioners:
        stories = read_stories(args.data_root / args.dataset, args.limit)
        cases = [
            Case(story, questions_about(story), *look(story, args.threads))
            for story in tqdm(stories, desc="decoding", unit="video", disable=None)
        ]
        questions = {
            "dataset": args.dataset,
            "benchmark": benchmark_digest(cases),
            "videos": [{"video_name": story.name, "n": len(story.events)} for story in stories],
        }
        for scores in scored.values():
            check_same_videos(scores, {"name": "this run", **questions})
        frames = max(len(case.whole) for case in cases)
        for captioner in captioners.values():
            captioner.check(args.device, sampling, frames)
    for name in list(captioners):
        # Taken out: two 7B models need not be in memory together.
        captioner = captioners.pop(name)
        captioner.load(device_of(args.device), args.threads)
        versions = captioner.fingerprint()
        scores = {
            "model": name,
            "name": captioner.name,
            "weights": versions.pop("weights", None),
            "versions": versions,
            "max_new_tokens": args.max_new_tokens,
            **questions,
            **score(captioner, cases, sampling),
        }
        scored[name] = with_intervals(scores)
        if name == args.model and args.out:
            write_json(args.out, scored[name])
            print(args.out)
    show(table(scored[args.model]))
    if args.baseline:
        show(comparison(scored[args.model], scored[args.baseline]))
    for name in dict.fromkeys(named):
        for line in remarks(scored[name]):
            print(line)
    if not args.out and not is_score_file(args.model):
        print("these scores are not kept: --out FILE.json keeps those of --model")


def is_score_file(model: str) -> bool:
    """Whether --model names scores and not a model."""
    return model.endswith(".json") and not Path(model).is_dir()


def score(captioner: Captioner, cases: Sequence[Case], sampling: Sampling) -> Scores:
    """Ask a loaded model everything; its videos' counts and descriptions, as a score file has them.

    Raises:
        UserError: the model leaves a request unanswered.
    """
    descriptions = _answers(captioner, [case.descriptions() for case in cases], sampling, "whole")
    neighbours = _answers(captioner, [case.neighbours() for case in cases], sampling, "neighbours")
    clips = _answers(captioner, [case.captions() for case in cases], sampling, "clips")
    likelihoods = _likelihoods(captioner, cases)
    videos = []
    for place, case in enumerate(cases):
        story, questions = case.story, case.questions
        text = parse_response(descriptions[place][0].text)
        named = [parse_response(answer.text) for answer in neighbours[place]]
        captions = [parse_clip_caption(reply.text, captioner.reasoning) for reply in clips[place]]
        counts = {
            **description_counts(story.events, find_events(text)),
            **neighbour_counts(story, questions, named),
            **clip_counts(story, questions, captions),
            **(preference_counts(questions, likelihoods[place]) if likelihoods else {}),
        }
        about = {"video_name": story.name, "n": len(story.events)}
        videos.append({**about, "caption": text, "counts": counts})
    cut_off = sum(answer.finish_reason == "length" for (answer,) in descriptions)
    return {"cut_off": cut_off, "videos": videos}


def remarks(scores: Scores) -> Iterator[str]:
    """What a reader of a table must know about a model's scores."""
    name = scores["name"]
    if not any(metric.startswith("prefer") for metric in scores["scores"]):
        yield f"{name}: no log p, which only the huggingface engine computes"
    if scores.get("cut_off"):
        yield (
            f"{name}: {scores['cut_off']} of {len(scores['videos'])} descriptions were cut off at"
            f" {scores['max_new_tokens']} tokens (--max_new_tokens)"
        )


def _answers(
    captioner: Captioner, requests: Sequence[Sequence[Request]], sampling: Sampling, what: str
) -> list[list[Answer]]:
    """The answers to the requests about each story, asked as one stream."""
    collected: list[list[Answer]] = [[] for _ in requests]
    with tqdm(total=sum(map(len, requests)), desc=what, disable=None) as bar:
        for place, answers in answer_groups(captioner, enumerate(requests), sampling):
            collected[place] = [_answered(captioner, answer) for answer in answers]
            bar.update(len(answers))
    return collected


def _likelihoods(captioner: Captioner, cases: Sequence[Case]) -> list[list[LogLikelihood]]:
    """Of the narratives of each story; none at all from an engine that computes none."""
    if not isinstance(captioner, HuggingFaceCaptioner):
        return []
    narratives = [case.narratives() for case in cases]
    flat = list(chain.from_iterable(narratives))
    pairs = tqdm(log_likelihoods(captioner, flat), total=len(flat), desc="log p", disable=None)
    by_place = {place: _answered(captioner, log_p) for place, log_p in pairs}
    in_order = (by_place[place] for place in range(len(flat)))
    return [[next(in_order) for _ in of_story] for of_story in narratives]


def _answered(captioner: Captioner, answer: AnswerOrLikelihood | Exception) -> AnswerOrLikelihood:
    """An answer; an exception in its place is raised, since it would count as a wrong answer."""
    if isinstance(answer, Exception):
        raise UserError(f"{captioner.name} leaves a request unanswered: {answer}") from answer
    return answer
