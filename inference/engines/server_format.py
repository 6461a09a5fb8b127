"""Requests to and answers of a server that speaks OpenAI's chat API.

Frames travel as JPEG pictures, in order, one by one: that is what every such server understands,
where a video is each server's own affair. Servers differ in what else they take:

- api.openai.com and `transformers serve` refuse a request that holds `top_k` or a repetition
  penalty; their requests are `strict`.
- vLLM and SGLang fill what is absent from the checkpoint's generation_config.json (Qwen2.5-VL's has
  a repetition penalty), so every other server is always sent all of these fields.
- The penalty is `repetition_penalty` to vLLM and SGLang, `repeat_penalty` to LM Studio and
  llama.cpp; both are sent. A server that knows neither, such as Ollama, leaves it out unasked.
- Greedy is temperature 0, which holds on a server that ignores `top_k` too.
"""

import base64
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import orjson

from inference.captioner import Answer, Request, Sampling

JPEG_QUALITY = 95  # of 100: 43 to 46 dB PSNR on real frames, 100 kB at 840 x 448 pixels
VISUAL_TOKEN = 28  # pixels, each side of Qwen2-VL's, to whose multiples its processor scales down
HALF_A_PAIR = re.compile("[\ud800-\udfff]")
QUOTED = 200  # characters of a server's answer that a message quotes

# id -> (frame, the data URL of its picture); the frame is held so that its id stays its own.
Pictures = dict[int, tuple[np.ndarray, str]]


def messages_of(
    request: Request, max_pixels: int | None, shown: Pictures
) -> tuple[list[dict[str, Any]], Pictures]:
    """A request's messages with pictures for frames, and these pictures.

    Args:
        max_pixels: largest size of a picture; None: that of the frame.
        shown: the pictures of the request before, whose last clip this one shows again.
    """
    pictures: Pictures = {}

    def parts(content: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for part in content:
            if part["type"] == "text":
                yield part
                continue
            for frame in part["video"]:
                known = shown.get(id(frame)) or (frame, picture(frame, max_pixels))
                pictures[id(frame)] = known
                yield {"type": "image_url", "image_url": {"url": known[1]}}

    messages = [
        {
            "role": message["role"],
            # Some servers take parts in the user's turns alone.
            "content": list(parts(message["content"]))
            if message["role"] == "user"
            else "\n".join(part["text"] for part in message["content"]),
        }
        for message in request.messages
    ]
    return messages, pictures


def picture(frame: np.ndarray, max_pixels: int | None) -> str:
    """A frame, uint8 RGB (H, W, 3), as the data URL of a JPEG picture of at most max_pixels."""
    height, width = frame.shape[:2]
    if max_pixels and height * width > max_pixels:
        shrink = math.sqrt(max_pixels / (height * width))
        width, height = (
            max(1, int(side * shrink / VISUAL_TOKEN)) * VISUAL_TOKEN for side in (width, height)
        )
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode('ascii')}"


def sampling_fields(sampling: Sampling, seed: int, strict: bool) -> dict[str, Any]:
    """The fields of a request that say how tokens are chosen.

    Args:
        strict: only OpenAI's own fields.
    """
    greedy = sampling.is_greedy
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_new_tokens,
        "temperature": 0 if greedy else sampling.temperature,
    }
    if not greedy:
        fields |= {"top_p": sampling.top_p, "seed": seed}
    if not strict:
        fields |= {
            # 0 is an error to SGLang; -1 is all of them to every server that takes the field.
            "top_k": 1 if greedy else sampling.top_k or -1,
            "repetition_penalty": sampling.repetition_penalty,
            "repeat_penalty": sampling.repetition_penalty,
        }
    return fields


def read_models(reply: bytes) -> list[str]:
    """The models that a server lists.

    Raises:
        ValueError: it answers with something else.
    """
    try:
        # Ollama answers null where it has no model.
        return [str(model["id"]) for model in _json(reply)["data"] or []]
    except (KeyError, TypeError):
        raise ValueError("it lists no models") from None


def read_answer(reply: bytes) -> Answer:
    """The answer in a chat completion, whole or in chunks: `transformers serve` sends chunks
    whether it is asked to or not.

    Raises:
        ValueError: it is not an answer, or reports an error.
    """
    chunks = [reply]
    if reply.startswith(b"data:"):
        lines = [line for line in reply.splitlines() if line.startswith(b"data:")]
        chunks = [line.removeprefix(b"data:").strip() for line in lines]
    documents = [_json(chunk) for chunk in chunks if chunk != b"[DONE]"]
    for document in documents:
        if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
            raise ValueError(f"it answers {str(document)[:QUOTED]}")
    choices = [choice for document in documents for choice in document["choices"]]
    if not choices:
        raise ValueError("it answers with no choice")
    try:
        messages = [choice.get("message") or choice.get("delta") or {} for choice in choices]
        text = "".join(message.get("content") or "" for message in messages)
        reasons = [reason for choice in choices if (reason := choice.get("finish_reason"))]
    except (AttributeError, TypeError):
        raise ValueError(f"it answers {str(documents[0])[:QUOTED]}") from None
    model = str(documents[0].get("model") or "")
    reason = reasons[-1] if reasons else "stop"
    return Answer(text.strip(), reason, model, _first_log_p(choices))


def _first_log_p(choices: list[dict[str, Any]]) -> dict[str, float] | None:
    """log p of the likeliest first tokens, where a server was asked for it and knows it."""
    try:
        first = next(c for choice in choices for c in (choice.get("logprobs") or {})["content"])
        return {str(token["token"]): float(token["logprob"]) for token in first["top_logprobs"]}
    except (KeyError, TypeError, StopIteration):
        return None


def _json(text: bytes) -> Any:
    """Parse a reply; half a surrogate pair, which UTF-8 cannot hold (half an emoji), becomes
    U+FFFD."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        # Python's own reader takes such halves; the text that it writes holds them as they are.
        whole = json.dumps(json.loads(text), ensure_ascii=False)
        return json.loads(HALF_A_PAIR.sub("\N{REPLACEMENT CHARACTER}", whole))
    except (ValueError, RecursionError):
        quoted = text[:QUOTED].decode(errors="replace")
        raise ValueError(f"it answers {quoted!r}") from None
