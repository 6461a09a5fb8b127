"""The models that --model names: those of models.yaml, any checkpoint, any server."""

import argparse
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from inference.captioner import Captioner, Model, Sampling
from inference.checkpoints import config_of, own_video_size
from tools.cli import positive
from tools.errors import UserError, did_you_mean

MODELS_YAML = Path(__file__).with_name("models.yaml")
ENGINES = ("huggingface", "vllm")
CONCURRENCY = 64  # requests in flight at a server, of one worker
BATCH = 32  # requests that run together on one device, where memory allows


@cache
def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def families() -> dict[str, dict[str, Any]]:
    """The families of models, with what the models of each have in common."""
    return _yaml(MODELS_YAML)["families"]


def models() -> dict[str, Model]:
    """The models known by name, in the file's order.

    Raises:
        UserError: a name that cannot go into a file's name.
    """
    entries = _yaml(MODELS_YAML)["models"]
    return {name: _model(check_model_name(name), **entry) for name, entry in entries.items()}


def _model(name: str, family: str | None, **own: Any) -> Model:
    fields = {**families().get(family or "", {}), **own}
    fields.pop("model_type", None)
    here = MODELS_YAML.parent / str(fields.get("checkpoint"))
    if here.is_dir():  # the one that the repository holds
        fields["checkpoint"] = str(here)
    return Model(name, family=family, **fields)


def check_model_name(name: str) -> str:
    """Give back a name that can go into a file's name.

    Raises:
        UserError: any other name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(name)):
        raise UserError(
            f"not a model name: {name!r} (letters, digits, '.', '-' and '_', 64 at most)"
        )
    return name


def add_model_flags(parser: argparse.ArgumentParser, what: str, others: Iterable[str] = ()) -> None:
    """Add --model and what belongs to it.

    Args:
        what: the model writes here.
        others: names of models that the caller opens by itself.
    """
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model",
        default="qwen2vl7b",
        help=f"who writes the {what}: one of {', '.join([*models(), *others])}; or a checkpoint, by"
        " its folder or its id on the Hugging Face hub; or NAME@URL, any OpenAI-compatible server,"
        " such as qwen25vl7b@http://localhost:8000/v1, whose key OPENAI_API_KEY holds (default:"
        " %(default)s)",
    )
    group.add_argument(
        "--model_name",
        metavar="NAME",
        help="what the files of a checkpoint are named after (default: the last part of its folder"
        " or id)",
    )
    group.add_argument(
        "--family",
        choices=list(families()),
        help="how a checkpoint's prompts and pictures are made (default: as its config.json says)",
    )
    group.add_argument(
        "--engine",
        choices=ENGINES,
        help="what runs the weights; vllm needs a GPU and requirements-vllm.txt (default:"
        " huggingface)",
    )
    group.add_argument(
        "--batch",
        type=positive,
        default=BATCH,
        metavar="N",
        help="requests that run together on one device; halved where memory runs out (default:"
        " %(default)s)",
    )
    group.add_argument(
        "--concurrency",
        type=positive,
        default=CONCURRENCY,
        metavar="N",
        help="requests that a worker has in flight at a server (default: %(default)s)",
    )
    group.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="run the code that a checkpoint brings along (default: refuse it)",
    )


def captioner_from(args: argparse.Namespace, max_new_tokens: int | None = None) -> Captioner:
    """The captioner that parsed flags ask for; `max_new_tokens` is for clip captions.

    Raises:
        UserError: see `open_captioner`.
    """
    flags = ("family", "engine", "batch", "concurrency", "trust_remote_code")
    given = {flag: getattr(args, flag) for flag in flags}
    return open_captioner(args.model, name=args.model_name, max_new_tokens=max_new_tokens, **given)


def open_model(args: argparse.Namespace, model: str) -> Captioner:
    """The captioner of --model or --baseline; nothing is loaded yet."""
    named = models().keys()
    # --family is for a checkpoint: beside one, a model known by name keeps its own.
    beside = {args.model, args.baseline} - {None} - named
    own = {
        "model": model,
        "model_name": args.model_name if model == args.model else None,
        "family": None if model in named and beside else args.family,
    }
    return captioner_from(argparse.Namespace(**{**vars(args), **own}))


def open_captioner(
    model: str,
    *,
    name: str | None = None,
    family: str | None = None,
    engine: str | None = None,
    batch: int = BATCH,
    concurrency: int = CONCURRENCY,
    trust_remote_code: bool = False,
    max_new_tokens: int | None = None,
) -> Captioner:
    """The captioner of a model; nothing is loaded yet.

    Args:
        model: a name of models.yaml, a checkpoint's folder or id on the hub, or <name>@<url>, whose
            name may be <org>/<name>.
        max_new_tokens: longest answer to a clip prompt; None: the model's own.

    Raises:
        UserError: there is no such model, or a flag does not go with it.
    """
    served, at, url = model.partition("@")
    is_server = "://" in url
    known = models().get(served if is_server else model)
    if is_server and engine:
        raise UserError(f"--engine {engine} does not go with a server ({url}): it has its own")
    if known and family:
        raise UserError(f"--family {family}: {known.name} has its family in models.yaml")
    if known:
        chosen = known
    elif is_server:
        # A name such as org/name is what the server calls it; its last part names the files.
        own = {"checkpoint": served} if "/" in served else {}
        chosen = _model(served.rpartition("/")[2], family, engine="server", **own)
    elif at:
        raise UserError(f"--model {model}: a server's address begins with http:// or https://")
    elif "/" in model or Path(model).is_dir():
        chosen = _unlisted(model, family)
    else:
        hint = did_you_mean(model, models())
        raise UserError(f"unknown model {model!r}; the models are: {', '.join(models())}{hint}")
    chosen = replace(
        chosen,
        name=check_model_name(name or chosen.name),
        max_new_tokens=max_new_tokens or chosen.max_new_tokens,
    )
    # The libraries of one engine alone are imported.
    if is_server:
        from inference.engines.server import ServerCaptioner

        return ServerCaptioner(chosen, url, concurrency)
    if chosen.engine == "dryrun":
        if engine or name:
            raise UserError("--model dryrun goes without --engine and --model_name")
        from inference.engines.dryrun import DryrunCaptioner

        return DryrunCaptioner()
    if (engine or chosen.engine) == "vllm":
        from inference.engines.vllm import VllmCaptioner

        return VllmCaptioner(chosen, trust_remote_code=trust_remote_code)
    from inference.engines.huggingface import HuggingFaceCaptioner

    return HuggingFaceCaptioner(chosen, batch, trust_remote_code)


def _unlisted(checkpoint: str, family: str | None) -> Model:
    """The model of a checkpoint that models.yaml does not list. Its family is by default the one
    whose model_type its config.json names.

    Raises:
        UserError: the checkpoint cannot be had.
    """
    if family is None:
        kind = config_of(checkpoint)["model_type"]
        family = next((name for name, f in families().items() if f["model_type"] == kind), None)
    model = _model(Path(checkpoint).name, family, engine="huggingface", checkpoint=checkpoint)
    if "size" not in model.video:
        return model
    # A model that was trained on smaller frames than its family is shown smaller ones.
    own = own_video_size(checkpoint)
    size = {edge: min(most, own.get(edge) or most) for edge, most in model.video["size"].items()}
    return replace(model, video={**model.video, "size": size})


def response_sampling(captioner: Captioner) -> Sampling:
    """How the method writes responses with this captioner.

    The reference asks for temperature, penalty and limit, and leaves the rest to the checkpoint.
    """
    method = Sampling()
    return replace(method, top_p=captioner.decoding.top_p, top_k=captioner.decoding.top_k)
