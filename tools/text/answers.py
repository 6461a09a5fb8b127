"""What counts of a model's whole-video answer, by the model's name."""

from collections.abc import Callable
from functools import cache

from inference.models import models
from tools.text.prompts import mimo_response, parse_response


@cache
def cleaner(model: str) -> Callable[[str], str | None]:
    """How a response of this model is read: its thinking comes off; a MiMo-VL model, known by name
    or from models.yaml, also talks before its answer begins."""
    known = models().get(model)
    opening = known.opening if known else "mimo" in model.lower()

    def clean(response: str) -> str | None:
        text = parse_response(response)
        return mimo_response(text) if opening and text else text

    return clean
