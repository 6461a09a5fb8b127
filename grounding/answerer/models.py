"""The models that --model names here: answerers, BLIP-2 and InstructBLIP as released or trained by
`grounding.train`, and every model that `inference.models` knows.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import inference.models
from inference.captioner import Captioner
from inference.checkpoints import is_folder
from tools.errors import UserError

# The released checkpoints that VideoTGB's experiments name.
ANSWERERS = {
    "blip2flant5xl": "Salesforce/blip2-flan-t5-xl",
    "instructblipvicuna7b": "Salesforce/instructblip-vicuna-7b",
    "instructblipflant5xl": "Salesforce/instructblip-flan-t5-xl",
}


def add_model_flags(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --model and what belongs to it; `what` is what the model writes here."""
    inference.models.add_model_flags(parser, what, ANSWERERS)


def captioner_from(args: argparse.Namespace, **settings: Any) -> Captioner:
    """The captioner of the flags that `add_model_flags` has added; see `open_captioner`."""
    flags = ("batch", "family", "engine", "concurrency", "trust_remote_code")
    given = {flag: getattr(args, flag) for flag in flags}
    return open_captioner(args.model, settings, name=args.model_name, **given)


def open_captioner(
    model: str,
    settings: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    batch: int = inference.models.BATCH,
    **flags: Any,
) -> Captioner:
    """The captioner of a model; nothing is loaded yet.

    Args:
        model: one of ANSWERERS, the folder of a trained answerer, or what `inference.models` takes.
        settings: of an answerer; see `grounding.answerer.captioner.AnswererCaptioner`.
        flags: of other models; see `inference.models.open_captioner`.

    Raises:
        UserError: there is no such model, or a flag does not go with it.
    """
    is_checkpoint = is_folder(model) or ("/" in model and "://" not in model)
    if model in ANSWERERS or is_checkpoint:
        from grounding.answerer.captioner import AnswererCaptioner, is_answerer

        if model in ANSWERERS or is_answerer(model):
            for flag in ("family", "engine", "trust_remote_code"):
                if flags.get(flag):
                    raise UserError(f"--{flag} does not go with {model}, an answerer")
            own = model if model in ANSWERERS else Path(model).resolve().name
            name = inference.models.check_model_name(name or own)
            return AnswererCaptioner(name, ANSWERERS.get(model, model), batch, **(settings or {}))
    return inference.models.open_captioner(model, name=name, batch=batch, **flags)
