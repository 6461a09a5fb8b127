"""lmms-eval as a program: a request as JSON goes in, an answer as JSON comes back.

It runs in lmms-eval's own environment and needs nothing else of this project;
evaluation/public/lmms.py starts it and says what requests and answers hold. The answer alone goes
to standard output: what lmms-eval prints goes to standard error.
"""

import json
import os
import sys
import threading
import traceback
from argparse import Namespace
from importlib.metadata import distributions
from typing import Any

PACKAGES = ("lmms-eval", "torch", "accelerate", "transformers", "vllm")
# lmms-eval's own command line takes these off an answer.
REASONING_TAGS = [["<think>", "</think>"], ["<analysis>", "</analysis>"]]
NOT_KEPT = ("doc", "arguments", "input_media")  # of an answered question: as long as the data


def end_with_parent() -> None:
    """Leave when the other end of standard input is gone: nobody would read the answer."""
    while os.read(0, 1):  # Not sys.stdin: its lock would be held when the interpreter ends.
        pass
    os._exit(1)


def versions() -> dict[str, str]:
    """The versions of lmms-eval and of the libraries that run the models, if they are here."""
    return {name: package.version for name in PACKAGES for package in distributions(name=name)}


def list_tasks(include_path: str | None) -> list[str]:
    """The names of all tasks, groups and tags, those of a folder of one's own included."""
    from lmms_eval.tasks import TaskManager

    return TaskManager("ERROR", include_path=include_path).all_tasks


def evaluate(**request: Any) -> dict[str, Any]:
    """Show a model the videos of some tasks, and score its answers."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.models import get_model
    from lmms_eval.tasks import TaskManager

    if request["fps"]:
        # Constants of qwen-vl-utils, which reads the videos of the Qwen families: lmms-eval has no
        # argument for Qwen2-VL's frames a second, and ignores Qwen2.5-VL's most frames beside one.
        from qwen_vl_utils import vision_process

        vision_process.FPS = request["fps"]
        vision_process.FPS_MAX_FRAMES = request["frames"]
    # The model is made here: simple_evaluate itself takes its arguments as text alone.
    model = get_model(request["model"], request["force_simple"])(**request["model_args"])
    results = simple_evaluate(
        model=model,
        tasks=request["tasks"],
        task_manager=TaskManager(include_path=request["include_path"], model_name=request["model"]),
        limit=request["limit"],
        gen_kwargs=request["gen_kwargs"],
        log_samples=True,
        cli_args=Namespace(process_with_media=False, reasoning_tags=REASONING_TAGS),
    )
    samples = {
        task: [{key: row[key] for key in row if key not in NOT_KEPT} for row in answered]
        for task, answered in results["samples"].items()
    }
    return {"results": results["results"], "sizes": results["n-samples"], "samples": samples}


def main() -> None:
    """Do what is asked; a failure is an answer too."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    stdout = os.dup(1)
    os.dup2(2, 1)
    ((command, arguments),) = json.loads(sys.argv[1]).items()
    commands: dict[str, Any] = {"versions": versions, "tasks": list_tasks, "evaluate": evaluate}
    try:
        answer = {"answer": commands[command](**arguments)}
    except Exception as error:
        # tenacity's RetryError says only that something was tried several times.
        cause = error.__cause__ if type(error).__name__ == "RetryError" else None
        reason = str(cause or error).strip().partition("\n")[0]
        answer = {"error": f"{type(cause or error).__name__}: {reason}"}
        traceback.print_exc()
    with open(stdout, "w") as file:
        # Numbers of numpy's become JSON's; anything else is put in words.
        json.dump(answer, file, default=lambda value: getattr(value, "item", value.__str__)())


if __name__ == "__main__":
    main()
