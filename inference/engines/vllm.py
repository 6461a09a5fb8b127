"""The vLLM engine as a captioner: continuous batching of one checkpoint on one GPU.

    pip install -r requirements-vllm.txt      # an environment of its own: vLLM pins its own torch
    python generate_dpo_data.py mine 8 --model qwen25vl7b --engine vllm

Requests are put through the chat template and the processor in a thread, and join the engine
between two of its steps, so the batch is refilled one by one while videos are still being decoded.

What was run: vLLM 0.23.0 built for CPUs, in float32, on tiny random checkpoints of Qwen2-VL,
Qwen2.5-VL, Qwen3-VL, InternVL3 and LLaVA-OneVision; every greedy text was the Hugging Face
captioner's, word for word. What was not: a GPU, real weights, bfloat16.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2

from inference.captioner import Answer, Model, Request, Sampling
from inference.checkpoints import check_checkpoint, config_of, digest, local_folder
from inference.engines.local import LocalCaptioner, end_worker
from tools.errors import UserError
from tools.runner.devices import count_gpus

AHEAD = 16  # requests that are rendered and wait to join the engine
IN_FLIGHT = 256  # requests in the engine; its memory decides how many of them run at once
HANDED_OUT = 8 * IN_FLIGHT  # requests a worker is handed at once
CLIPS_A_REQUEST = 2  # videos in a clip prompt: the clip, and the one before it
FRAMES_A_CLIP = 2
# Tokens of prompt and answer: 32 captions of 700 tokens, the longest list that stage 1 lets through
# (or four frames, 2048), and an answer of 8192. The engine reserves memory for one such request;
# the lengths that checkpoints allow, up to 262144, would not fit.
MAX_TOKENS = 32768
SHOWN = 300  # characters of vLLM's message where it cannot start
# Families in models.yaml for which vLLM accepts pictures, but no videos.
WITHOUT_VIDEO = ("smolvlm",)


class VllmCaptioner(LocalCaptioner):
    """A checkpoint in vllm.LLM, in the worker's own process.

    Args:
        trust_remote_code: run code of the checkpoint's own.
        dtype: of the weights, in vLLM's words.
    """

    def __init__(
        self, model: Model, trust_remote_code: bool = False, dtype: str = "bfloat16"
    ) -> None:
        super().__init__(model, HANDED_OUT, trust_remote_code)
        self.dtype = dtype

    def fingerprint(self) -> dict[str, Any]:
        return {
            "engine": "vllm",
            "weights": digest(self.checkpoint),
            "video": self.model.video,
            "dtype": self.dtype,
            "vllm": _vllm_version(),
            "transformers": version("transformers"),
        }

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """See that vLLM is installed, and that there are a GPU and a checkpoint that it can run."""
        if _vllm_version() is None:
            raise UserError(
                "--engine vllm: vLLM is not installed: pip install -r requirements-vllm.txt, in an"
                " environment of its own"
            )
        if device == "cpu":
            raise UserError("--engine vllm needs a GPU: leave --device cpu out")
        if not count_gpus():
            raise UserError(
                "--engine vllm needs a GPU, and there is none that torch can use; --engine"
                " huggingface runs on a CPU too"
            )
        if self.model.family in WITHOUT_VIDEO:
            raise UserError(
                f"--engine vllm: vLLM shows {self.name} no videos; use --engine huggingface"
            )
        check_checkpoint(self.checkpoint, self.trust_remote_code)

    def load(self, device: str, threads: int) -> None:
        """Start the engine on the one GPU that this worker has.

        Raises:
            UserError: vLLM refuses the checkpoint, or the GPU's memory is taken, for instance by a
                second worker.
        """
        cv2.setNumThreads(threads)
        if device.startswith("cuda:"):
            given = os.environ.get("CUDA_VISIBLE_DEVICES")
            number = int(device.removeprefix("cuda:"))
            os.environ["CUDA_VISIBLE_DEVICES"] = given.split(",")[number] if given else str(number)
        # A worker is ended by SIGKILL, which an engine in a process of its own would outlive.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        from transformers import AutoProcessor
        from vllm import LLM

        try:
            self.processor = AutoProcessor.from_pretrained(
                local_folder(self.checkpoint),
                trust_remote_code=self.trust_remote_code,
            )
            self.llm: Any = LLM(**self.engine_arguments())
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            what = " ".join(str(error).split())[:SHOWN]
            raise UserError(
                f"vLLM cannot load {self.checkpoint}, for which it wants a GPU to itself in each"
                f" worker: {what}"
            ) from error

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Keep up to IN_FLIGHT requests in the engine; see `inference.captioner.Captioner`."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        engine = self.llm.llm_engine
        waiting: dict[str, int] = {}
        rendered = self._rendered(requests)
        coming: deque[Future[Any]] = deque()
        more = True
        thread = ThreadPoolExecutor(1)
        try:
            while more or waiting:
                while more and len(coming) < AHEAD:
                    coming.append(thread.submit(next, rendered, None))
                # The engine does not wait for a request while it has others.
                while coming and len(waiting) < IN_FLIGHT and (coming[0].done() or not waiting):
                    request = coming.popleft().result()
                    if request is None:
                        more = False
                        coming.clear()
                        break
                    position, prompt, seed = request
                    try:
                        if isinstance(prompt, Exception):
                            raise prompt
                        parameters = SamplingParams(
                            **sampling_values(sampling, seed),
                            output_kind=RequestOutputKind.FINAL_ONLY,
                        )
                        engine.add_request(str(position), prompt, parameters)
                    except Exception as error:
                        yield position, error
                        continue
                    waiting[str(position)] = position
                for output in _step(engine) if waiting else ():
                    if output.finished:
                        written = output.outputs[0]
                        answer = Answer(written.text.strip(), written.finish_reason or "stop")
                        yield waiting.pop(output.request_id), answer
        finally:
            thread.shutdown(cancel_futures=True)
            engine.abort_request(list(waiting))

    def engine_arguments(self) -> dict[str, Any]:
        """What vllm.LLM is made with."""
        config = config_of(self.checkpoint)
        text = {**config, **config.get("text_config", {})}
        return {
            "model": str(local_folder(self.checkpoint)),
            "dtype": self.dtype,
            "trust_remote_code": self.trust_remote_code,
            "max_model_len": min(MAX_TOKENS, text.get("max_position_embeddings", MAX_TOKENS)),
            "max_num_seqs": IN_FLIGHT,
            # Memory is reserved for no more than this.
            "limit_mm_per_prompt": {
                "video": {"count": CLIPS_A_REQUEST, "num_frames": FRAMES_A_CLIP},
                "image": 0,
            },
            "mm_processor_kwargs": self.model.video,
        }

    def prompt(self, request: Request) -> dict[str, Any]:
        """A request as vLLM takes it (vllm.inputs.TextPrompt): the chat template's text with one
        placeholder a clip, and each clip as (frames (n, H, W, 3), metadata)."""
        text, videos, metadata = self.chat(request)
        if not videos:
            return {"prompt": text}
        metadata = [{**entry, "do_sample_frames": False} for entry in metadata]
        return {
            "prompt": text,
            "multi_modal_data": {"video": list(zip(videos, metadata, strict=True))},
        }

    def _rendered(self, requests: Iterable[Request]) -> Iterator[tuple[int, Any, int]]:
        """Yield (position, the engine's input or why there is none, seed)."""
        for position, request in enumerate(requests):
            try:
                (rendered,) = self.llm.renderer.render_cmpl([self.prompt(request)])
            except Exception as error:
                rendered = error
            yield position, rendered, request.seed


def _step(engine: Any) -> Any:
    """What the engine has finished. An error here is the engine's or the device's end, and not a
    request's."""
    try:
        return engine.step()
    except Exception as error:
        end_worker("engine", error)


def sampling_values(sampling: Sampling, seed: int) -> dict[str, Any]:
    """The fields of vllm.SamplingParams, none of them left to a default that shapes the text.

    Special tokens stay in the text, so that an answer that holds one is filtered.
    """
    greedy = sampling.is_greedy
    return {
        "temperature": 0.0 if greedy else sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        "top_k": 0 if greedy else sampling.top_k,  # 0 is all of them
        "repetition_penalty": sampling.repetition_penalty,
        "max_tokens": sampling.max_new_tokens,
        "seed": None if greedy else seed,
        "skip_special_tokens": False,
    }


def _vllm_version() -> str | None:
    try:
        return version("vllm")
    except PackageNotFoundError:
        return None
