"""Benchmarks through lmms-eval: what it is asked, what is made of its answers, and, where it is
installed, what comes of it.

lmms-eval is not in requirements.txt. In an environment made from requirements-lmms-eval.txt and
named by LMMS_EVAL_PYTHON, or in .venv-lmms-eval, the last tests of this file run it on a task of
our own, tests/evaluation/lmms_tasks/toy_order. The others have a program in its place that answers
what lmms-eval 0.7.3 answered of that task. The public benchmarks' data are not here: what
lmms-eval keeps of their answers was made by its own functions from made-up questions and answers.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import orjson
import pytest

from evaluation.public import lmms as lmms_module
from evaluation.public.benchmarks import add_benchmark_parser
from evaluation.public.lmms import BENCHMARKS, CLASSES, INSTALL, LAUNCHER, Seen, open_lmms, run
from evaluation.public.scores import BenchmarkScore, benchmark_scores, task_scores
from inference.tiny import checkpoints as tiny_checkpoints
from tools.cli import script_parser
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from toyworld.language import TEMPLATES
from toyworld.make import make_world

TASK = REPOSITORY / "tests" / "evaluation" / "lmms_tasks" / "toy_order"
VERSIONS = {
    "lmms-eval": "0.7.3",
    "torch": "2.14.1",
    "accelerate": "1.15.0",
    "transformers": "4.57.6",
}

# What lmms-eval 0.7.3 made of toy_order with a tiny Qwen2-VL; the answers are cut short here.
ANSWER = {
    "results": {
        "toy_order": {
            "alias": "toy_order",
            "word_recall,none": 0.13125,
            "word_recall_stderr,none": 0.03888800310782601,
            "word_recall_stderr_clt,none": 0.03888800310782601,
            "word_recall_stderr_clustered,none": "N/A",
            "order_score,none": 25.0,
            "order_score_stderr,none": "N/A",
            "order_score_stderr_clt,none": 0.16366341767699427,
            "order_score_stderr_clustered,none": "N/A",
        }
    },
    "sizes": {"toy_order": {"original": 8, "effective": 8}},
}
SAMPLES = [
    {
        "doc_id": number,
        "target": target,
        "filtered_resps": [answer],
        "word_recall": recall,
        "order_score": {"videoID": f"toy_{number // 2:04d}.mp4", "score": score},
    }
    for number, (target, answer, recall, score) in enumerate(
        [
            ("a yellow circle moves right", "stops tree say. all takes", 0.2, 1.0),
            ("a red star turns", "clip its description blue moves", 0.0, 0.0),
            ("an orange square grows", "on wind pours place away until", 0.0, 0.0),
            ("an orange star moves up", "what speak what far say camera", 0.2, 0.0),
            ("a green star moves left", "what puts puts puts description", 0.2, 0.0),
            ("a blue circle grows", "what description cup by say her", 0.25, 1.0),
            ("a blue square moves down", "what its description cup", 0.2, 0.0),
            ("a yellow square grows", "what the say small ends air", 0.0, 0.0),
        ]
    )
]
ANSWER["samples"] = {"toy_order": SAMPLES}
SCORES = {
    "word_recall": {
        "value": 0.13125,
        "stderr": 0.03888800310782601,
        "low": pytest.approx(0.0550, abs=1e-4),  # 0.13125 - 1.96 * 0.03889
        "high": pytest.approx(0.2075, abs=1e-4),
    },
    # Two of four videos have one right answer of two: a share of the videos' 0, 25 and 50 %.
    "order_score": {"value": 25.0, "stderr": None, "low": 0.0, "high": 50.0},
}

TASKS = [
    *("longvideobench_val_v", "mvbench", "mvbench_action_antonym", "toy_order", "videomme"),
    *("videomme_long", "vinoground"),
]
UNREACHABLE = (
    "LocalEntryNotFoundError: An error happened while trying to locate the files on the Hub"
)
# In the place of lmms-eval's Python: keeps what it was asked, and answers what it was left.
PROGRAM = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
flag, launcher, request = sys.argv[1:]
((command, arguments),) = json.loads(request).items()
with open(here / "requests.jsonl", "a") as file:
    environment = dict(os.environ)
    request = {{"command": command, "words": [flag, launcher], "environment": environment}}
    file.write(json.dumps({{**request, **arguments}}) + "\\n")
print("lmms-eval says this and that", file=sys.stderr)
print((here / (command + ".json")).read_text(), end="")
"""


class Stand:
    """A program that stands for lmms-eval's Python, and what it answers."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(PROGRAM.format(python=sys.executable))
        self.python.chmod(0o755)
        self.answer("versions", VERSIONS)
        self.answer("tasks", TASKS)
        self.answer("evaluate", ANSWER)

    def answer(self, command: str, answer: object) -> None:
        (self.folder / f"{command}.json").write_bytes(orjson.dumps({"answer": answer}))

    def fail(self, error: str = UNREACHABLE) -> None:
        (self.folder / "evaluate.json").write_bytes(orjson.dumps({"error": error}))

    @property
    def runs(self) -> list[dict]:
        path = self.folder / "requests.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [one for one in map(orjson.loads, lines) if one["command"] == "evaluate"]


@pytest.fixture
def stand(tmp_path, monkeypatch):
    monkeypatch.delenv("LMMS_EVAL_PYTHON", raising=False)
    return Stand(tmp_path / "stand")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny Qwen2-VL, and a folder that says it is another model_type."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny_checkpoints.qwen2vl(folder / "tiny", compact=True)
    for kind in ("llava_onevision", "smolvlm"):
        (folder / kind).mkdir()
        (folder / kind / "config.json").write_text(f'{{"model_type": "{kind}"}}')
        (folder / kind / "model.safetensors").touch()
    return folder


def parse(*words):
    parser = script_parser("")
    commands = parser.add_subparsers(
        parser_class=partial(type(parser), formatter_class=parser.formatter_class)
    )
    add_benchmark_parser(commands)
    return parser.parse_args(["benchmark", *map(str, words)])


@pytest.fixture
def evaluate(stand, tiny, tmp_path):
    """`evaluate_model.py benchmark` on toy_order with the program above; gives the score file."""

    def evaluate(*words, model=tiny / "tiny", tasks="toy_order"):
        out = tmp_path / "scores.json"
        given = ["--tasks", tasks, "--model", model, "--python", stand.python, "--out", out]
        args = parse(*given, "--device", "cpu", *words)
        args.run(args)
        return orjson.loads(out.read_bytes())

    return evaluate


def complaint(run, *words, **named):
    with pytest.raises(UserError) as caught:
        run(*words, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What lmms-eval is asked


def test_the_request(stand):
    run(
        str(stand.python),
        CLASSES["qwen2_vl"],
        Path("/models/mine"),
        ["videomme", "mlvu_dev"],
        Seen(frames=64, fps=2.0, max_pixels=401408),
        "cuda:0",
        limit=10,
        include_path=Path("/tasks"),
        gen_kwargs="max_new_tokens=8192",
    )
    (request,) = stand.runs
    assert request.pop("words") == ["-P", str(LAUNCHER)]
    del request["environment"]
    assert request == {
        "command": "evaluate",
        "model": "qwen2_vl",
        "model_args": {
            "pretrained": "/models/mine",
            "device": "cuda:0",
            "device_map": "cuda:0",
            "batch_size": 1,
            "max_num_frames": 64,
            "max_pixels": 401408,
            "min_pixels": 3136,
        },
        "force_simple": False,
        "tasks": ["videomme", "mlvu_dev"],
        "fps": 2.0,
        "frames": 64,
        "limit": 10,
        "include_path": "/tasks",
        "gen_kwargs": "max_new_tokens=8192",
    }


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "force_simple"),
    [
        (
            "qwen2_5_vl",
            "qwen2_5_vl",
            {"max_num_frames": 8, "fps": 0.5, "max_pixels": 784, "min_pixels": 784},
            False,
        ),
        (
            "qwen3_vl",
            "qwen3_vl",
            {"max_num_frames": 8, "fps": 0.5, "max_pixels": 784, "min_pixels": 784},
            False,
        ),
        ("llava_onevision", "llava_hf", {"max_frames_num": 8}, True),
        ("internvl", "internvl_hf", {"num_frames": 8}, False),
    ],
)
def test_each_family_has_its_own_words_for_frames(stand, kind, name, arguments, force_simple):
    seen = Seen(8, 0.5 if CLASSES[kind].fps else None, 784 if CLASSES[kind].pixels else None)
    run(str(stand.python), CLASSES[kind], Path("m"), ["t"], seen, "cpu")
    (request,) = stand.runs
    always = {"pretrained": "m", "device": "cpu", "device_map": "cpu", "batch_size": 1}
    assert request["model"] == name
    assert request["model_args"] == always | arguments
    assert request["force_simple"] == force_simple


def test_our_modules_are_not_in_the_way(evaluate, stand, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    evaluate("--fps", 2, "--max_frames", 16)
    (request,) = stand.runs
    assert (request["fps"], request["frames"]) == (2.0, 16)
    assert "PYTHONPATH" not in request["environment"]
    assert request["environment"]["FORCE_QWENVL_VIDEO_READER"] == "decord"


# The launcher, with a few modules in the place of lmms-eval and of qwen-vl-utils

LIBRARY = {
    "lmms_eval/__init__": "",
    "qwen_vl_utils/__init__": "",
    "qwen_vl_utils/vision_process": "FPS, FPS_MAX_FRAMES = 2.0, 768",
    "lmms_eval/models": """
class Model:
    def __init__(self, **arguments):
        self.arguments = arguments
def get_model(name, force_simple):
    assert (name, force_simple) == ("some", True)
    return Model
""",
    "lmms_eval/tasks": """
class TaskManager:
    def __init__(self, verbosity="INFO", include_path=None, model_name=None):
        self.all_tasks = ["mine", include_path]
        self.model_name = model_name
""",
    "lmms_eval/evaluator": """
import sys, time
def simple_evaluate(model, tasks, task_manager, limit, gen_kwargs, log_samples, cli_args):
    v = sys.modules.get("qwen_vl_utils.vision_process")
    print("lmms-eval prints", v and (v.FPS, v.FPS_MAX_FRAMES), flush=True)
    if tasks == ["slow"]:
        time.sleep(600)
    if tasks == ["bad"]:
        class RetryError(Exception): pass
        raise RetryError("tried 5 times") from OSError("no network\\nat all")
    sample = {"doc": {"video": "long"}, "doc_id": 0, "filtered_resps": ["a"], "acc": 1.0}
    return {"results": {"mine": model.arguments}, "n-samples": {"mine": {"original": limit}},
            "samples": {"mine": [sample]}, "config": cli_args}
""",
}
REQUEST = {
    "model": "some",
    "model_args": {"pretrained": "/a,b"},
    "force_simple": True,
    "tasks": ["mine"],
    "include_path": None,
    "fps": None,
    "frames": 16,
    "limit": 3,
    "gen_kwargs": None,
}


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for name, text in LIBRARY.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)

    def launch(command, **arguments):
        return subprocess.Popen(
            [sys.executable, "-P", LAUNCHER, orjson.dumps({command: arguments})],
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return launch


def test_the_launcher_answers_in_json_and_all_else_goes_to_standard_error(launch):
    with launch("evaluate", **{**REQUEST, "fps": 0.5}) as launched:
        answer = orjson.loads(launched.stdout.read())
        assert "lmms-eval prints (0.5, 16)" in launched.stderr.read()
    assert answer["answer"] == {
        "results": {"mine": {"pretrained": "/a,b"}},
        "sizes": {"mine": {"original": 3}},
        "samples": {"mine": [{"doc_id": 0, "filtered_resps": ["a"], "acc": 1.0}]},
    }


def test_qwen_vl_utils_has_the_constants_that_the_launcher_sets():
    (folder,) = find_spec("qwen_vl_utils").submodule_search_locations
    source = Path(folder, "vision_process.py").read_text()
    assert re.search(r"^FPS = ", source, flags=re.MULTILINE)
    assert re.search(r"^FPS_MAX_FRAMES = ", source, flags=re.MULTILINE)


def test_the_launcher_says_why_a_run_failed(launch):
    with launch("evaluate", **{**REQUEST, "tasks": ["bad"]}) as launched:
        assert orjson.loads(launched.stdout.read()) == {"error": "OSError: no network"}
        assert "tried 5 times" in launched.stderr.read()


def test_the_launcher_lists_tasks_and_versions(launch):
    with launch("tasks", include_path="/mine") as launched:
        assert orjson.loads(launched.stdout.read()) == {"answer": ["mine", "/mine"]}
    with launch("versions") as launched:
        installed = orjson.loads(launched.stdout.read())["answer"]
    assert "lmms-eval" not in installed and installed["transformers"] == VERSIONS["transformers"]


def test_the_launcher_ends_with_the_one_who_asked(launch):
    with launch("evaluate", **{**REQUEST, "tasks": ["slow"]}) as launched:
        for line in launched.stderr:
            if line.startswith("lmms-eval prints"):
                break
        launched.stdin.close()
        assert launched.wait(timeout=10) == 1


def test_a_benchmark_is_asked_for_by_the_names_of_lmms_eval(evaluate, stand):
    stand.fail()
    complaint(evaluate, tasks="tempcompass,mlvu,longvideobench")
    assert [request["tasks"] for request in stand.runs] == [
        ["tempcompass_multi_choice", "tempcompass_yes_no", "tempcompass_caption_matching"],
        ["mlvu_dev"],
        ["longvideobench_val_v"],
    ]


# What is read back


def test_a_file_of_scores(evaluate, tiny, capsys):
    document = evaluate("--max_pixels", 20000)
    weights = document.pop("weights")
    assert re.fullmatch(r"[0-9a-f]{12}", weights)
    assert document == {
        "model": str(tiny / "tiny"),
        "name": "tiny",
        "versions": VERSIONS,
        "tasks": {
            "toy_order": {
                **SCORES,
                "samples": 8,
                "questions": 8,
                "empty": 0,
                "frames": 32,
                "fps": 1.0,
                "max_pixels": 20000,
                "limit": None,
            }
        },
    }
    printed = capsys.readouterr().out
    assert "toy_order: at most 32 frames, 1 a second, of at most 20,000 pixels\n" in printed
    rows = [line.split() for line in printed.splitlines() if "[" in line]
    beside = ["32", "1", "20,000", "8"]
    assert rows[0] == ["toy_order", "word_recall", "0.131", "[0.055,", "0.207]", *beside]
    assert rows[1] == ["order_score", "25.000", "[0.000,", "50.000]", *beside]


def test_frames_are_never_more_than_the_checkpoints_own_processor_lets_through(evaluate, tiny):
    seen = evaluate()["tasks"]["toy_order"]
    size = orjson.loads((tiny / "tiny" / "video_preprocessor_config.json").read_bytes())["size"]
    assert seen["max_pixels"] == size["longest_edge"] == 25088


def test_the_same_command_again_runs_nothing(evaluate, stand):
    first = evaluate()
    assert evaluate() == first
    assert len(stand.runs) == 1


@pytest.mark.parametrize("flag", ["--fps", "--max_frames", "--limit"])
def test_other_settings_are_run_again(evaluate, stand, flag):
    evaluate()
    evaluate(flag, 4)
    assert len(stand.runs) == 2


def test_a_half_written_file_of_scores_is_done_again(evaluate, stand, tmp_path, capsys):
    whole = evaluate()
    path = tmp_path / "scores.json"
    path.write_bytes(path.read_bytes()[:300])
    assert evaluate() == whole
    assert len(stand.runs) == 2
    assert f"{path} is no file of scores, or half of one: done again" in capsys.readouterr().err


@pytest.mark.parametrize("torn", ["", '{"answer": {"results"'])
def test_half_an_answer_is_no_score_and_is_done_again(evaluate, stand, tmp_path, capsys, torn):
    (stand.folder / "evaluate.json").write_text(torn)
    assert complaint(evaluate).startswith("1 of 1 benchmarks not run: toy_order;")
    assert "lmms-eval ended without an answer, with code 0" in capsys.readouterr().out
    assert not (tmp_path / "scores.json").exists()
    stand.answer("evaluate", ANSWER)
    assert evaluate()["tasks"]["toy_order"]["word_recall"] == SCORES["word_recall"]


def test_scores_of_other_weights_are_not_added_to(evaluate, tiny, tmp_path):
    digest = evaluate()["weights"]
    other = tmp_path / "other"
    shutil.copytree(tiny / "tiny", other)
    with open(other / "model.safetensors", "r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"otherwise"[:8])
    said = complaint(evaluate, model=other)
    assert re.fullmatch(
        rf"{tmp_path}/scores.json holds scores of other weights \({digest}; now [0-9a-f]+\):"
        " name another --out, or delete it",
        said,
    )


def test_what_could_not_be_run_says_so_and_the_rest_is_kept(evaluate, stand, tmp_path, capsys):
    evaluate()
    stand.fail()
    assert complaint(evaluate, tasks="toy_order,videomme") == (
        "1 of 2 benchmarks not run: videomme; the same command tries them again"
    )
    printed = capsys.readouterr().out
    assert re.search(r"^ *videomme +not run( +-){5} *$", printed, flags=re.MULTILINE)
    assert f"videomme: not run: {UNREACHABLE}\n" in printed
    kept = orjson.loads((tmp_path / "scores.json").read_bytes())["tasks"]
    assert kept.keys() == {"toy_order"}


def test_every_answer_is_kept(evaluate, tmp_path):
    evaluate()
    kept = orjson.loads((tmp_path / "scores.json.lmms" / "toy_order.json").read_bytes())
    assert kept["samples"]["toy_order"] == SAMPLES


def test_empty_answers_are_counted(evaluate, stand, capsys):
    samples = [{**one, "filtered_resps": [""]} if one["doc_id"] < 3 else one for one in SAMPLES]
    stand.answer("evaluate", {**ANSWER, "samples": {"toy_order": samples}})
    assert evaluate()["tasks"]["toy_order"]["empty"] == 3
    assert "toy_order: 3 answers are empty" in capsys.readouterr().out


# Bad input


def test_a_task_that_lmms_eval_does_not_know(evaluate, stand):
    assert complaint(evaluate, tasks="toy_order,vinogrond") == (
        "--tasks: lmms-eval 0.7.3 has no task 'vinogrond'; near it: vinoground"
    )
    assert stand.runs == []


def test_a_task_like_no_other_is_offered_the_benchmarks(evaluate):
    assert complaint(evaluate, tasks="qqq") == (
        "--tasks: lmms-eval 0.7.3 has no task 'qqq'; near it: vinoground, tempcompass, videomme,"
        " mlvu, mvbench, longvideobench"
    )


@pytest.mark.parametrize("name", ["vinoground", "mlvu"])
def test_a_benchmark_that_is_not_to_be_had_in_parts(evaluate, stand, name):
    said = complaint(evaluate, "--limit", 5, tasks=name)
    assert said.startswith(f"--limit 5: {name} ") and said.endswith(": leave --limit out")
    assert stand.runs == []


def test_no_task_at_all(evaluate):
    assert complaint(evaluate, tasks=",").startswith("--tasks names nothing; it may be vinoground,")


def test_lmms_eval_is_not_installed(stand):
    stand.answer("versions", {"torch": "2.14.1"})
    assert complaint(open_lmms, str(stand.python)) == (
        f"lmms-eval is not installed for {stand.python}: {INSTALL}; or name the Python of another"
        " environment as --python or in LMMS_EVAL_PYTHON"
    )
    assert INSTALL == (
        "python3 -m venv .venv-lmms-eval && .venv-lmms-eval/bin/pip install -r"
        " requirements-lmms-eval.txt"
    )


def test_a_python_that_does_not_run_the_launcher(stand):
    stand.python.write_text("#!/bin/sh\necho 'unknown option -P' >&2; exit 2\n")
    assert complaint(open_lmms, str(stand.python)) == (
        f"{stand.python}: lmms-eval ended without an answer, with code 2"
    )


def test_there_is_no_such_python(tmp_path):
    assert complaint(open_lmms, str(tmp_path / "python")) == (
        f"{tmp_path}/python: no Python that runs (No such file or directory)"
    )


def test_whose_lmms_eval_it_is(stand, tmp_path, monkeypatch):
    monkeypatch.setenv("LMMS_EVAL_PYTHON", str(stand.python))
    assert open_lmms(None) == (str(stand.python), VERSIONS)
    other = Stand(tmp_path / "other")
    assert open_lmms(str(other.python))[0] == str(other.python)
    monkeypatch.delenv("LMMS_EVAL_PYTHON")
    beside = tmp_path / ".venv-lmms-eval" / "bin"
    beside.mkdir(parents=True)
    own = Stand(beside / "stand")
    (beside / "python").write_text(f'#!/bin/sh\nexec {own.python} "$@"\n')
    (beside / "python").chmod(0o755)
    monkeypatch.setattr(lmms_module, "REPOSITORY", tmp_path)
    assert open_lmms(None)[0] == str(beside / "python")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{tiny}/nothing", "checkpoint {tiny}/nothing: no such folder"),
        (
            "dryrun",
            "--model dryrun: lmms-eval runs checkpoints: give a name, a folder or an id on the hub",
        ),
        (
            "{tiny}/smolvlm",
            "--model smolvlm: lmms-eval has no class that shows videos to a model_type of"
            " 'smolvlm'; it has for qwen2_vl, qwen2_5_vl, qwen3_vl, llava_onevision, internvl",
        ),
    ],
)
def test_a_model_that_cannot_be_run(evaluate, stand, tiny, model, said):
    assert complaint(evaluate, model=model.format(tiny=tiny)) == said.format(tiny=tiny)
    assert stand.runs == []


def test_an_unknown_model(evaluate):
    assert complaint(evaluate, model="qwen2").startswith("unknown model 'qwen2'; the models are: ")


def test_a_flag_that_the_models_class_has_no_argument_for(evaluate, tiny):
    for flag in ("fps", "max_pixels"):
        assert complaint(evaluate, f"--{flag}", 2, model=tiny / "llava_onevision") == (
            f"--{flag} {2 if flag == 'max_pixels' else 2.0}: lmms-eval's class of llava_onevision"
            " (llava_hf) has no such argument"
        )


def test_fewer_pixels_than_the_checkpoints_own_processor_shows(evaluate):
    assert complaint(evaluate, "--max_pixels", 784) == (
        "--max_pixels 784: the processor of tiny shows no frame at fewer than 12544"
    )


def test_no_folder_of_tasks(evaluate, tmp_path):
    assert complaint(evaluate, "--include_path", tmp_path / "no") == (
        f"--include_path {tmp_path}/no: no such folder"
    )


# Scores of the public benchmarks: entries and values are lmms-eval's own functions' work


def logged(metric, entries, targets=None):
    targets = targets or ["?"] * len(entries)
    return [
        {"doc_id": number, "target": target, metric: one}
        for number, (one, target) in enumerate(zip(entries, targets, strict=True))
    ]


def scored(metric, value, entries, targets=None):
    results = {"alias": "x", f"{metric},none": value, f"{metric}_stderr,none": "N/A"}
    return task_scores(results, logged(metric, entries, targets))


def test_videomme_is_resampled_by_video():
    said, right = "ABCAABCDA", "ABCDABCDA"  # Three questions to a video.
    entries = [
        {
            "question_id": f"00{number}-1",
            "duration": "short",
            "pred_answer": pred,
            "answer": answer,
            "score": float(pred == answer),
            "videoID": f"v{number // 3}",
        }
        for number, (pred, answer) in enumerate(zip(said, right, strict=True))
    ]
    metric = "videomme_perception_score"
    # Videos of 3, 2 and 3 right answers of 3: no resample is worse than three times the second.
    assert scored(metric, 88.88888888888889, entries) == {
        metric: BenchmarkScore(pytest.approx(8 / 9), None, pytest.approx(2 / 3), 1.0)
    }


def test_mvbench_leaves_out_what_was_not_answered():
    entries = [
        {"pred_answer": pred, "gt_answer": answer, "score": score}
        for pred, answer, score in [
            *(("A", "A", 1), ("(B) right", "B", 1), ("", "C", 0)),
            *(("A", "A", 1), ("A.", "B", 0), ("C", "C", 1)),
        ]
    ]
    assert scored("mvbench_accuracy", 80.0, entries) == {
        "mvbench_accuracy": BenchmarkScore(0.8, None, pytest.approx(0.4), 1.0)
    }


def test_mlvu_is_the_mean_of_its_types_of_questions():
    types = ["anomaly_reco", "count", "ego", "needle", "order", "plotQA", "topic_reasoning"]
    kinds = [types[number % 7] if number < 14 else "order" for number in range(18)]
    said, right = "ABDDAACDABBDABCDBB", "ABCD" * 4 + "AB"
    entries = [
        {"question_id": "q", "task_type": kind, "pred_answer": pred, "answer": answer}
        for kind, pred, answer in zip(kinds, said, right, strict=True)
    ]
    score = scored("mlvu_percetion_score", 76.19047619047618, entries)["mlvu_percetion_score"]
    assert score.value == pytest.approx(0.7619, abs=1e-4)
    # It is the types that are averaged: 14 of 18 answers would be 0.778.
    assert sum(a == b for a, b in zip(said, right, strict=True)) == 14
    assert score.low < score.value < score.high and score.high - score.value < 0.2


def test_longvideobench_is_a_share_already():
    entries = [
        {"id": f"x_{number}", "duration_group": 15, "answer": answer, "parsed_pred": pred}
        for number, (pred, answer) in enumerate(zip("ABAACCB", "ABCABCA", strict=True))
    ]
    assert scored("lvb_acc", 0.57143, entries) == {
        "lvb_acc": BenchmarkScore(0.57143, None, pytest.approx(2 / 7), pytest.approx(6 / 7))
    }


def test_tempcompass_has_a_score_of_each_dimension():
    ratings = [1, 0, 1, 1, 0, 1, 1, 0]
    samples = []
    for number, rating in enumerate(ratings):
        dimension = ["speed", "order"][number % 2]
        kept = {"video_id": f"{number // 2}", "rating": rating, "dim": dimension}
        one = {"doc_id": number, "target": "yes", "avg_accuracy": kept}
        samples.append({**one, f"{dimension}_accuracy": kept})
    results = {}
    for metric, value in (("avg", 62.5), ("speed", 75.0), ("order", 50.0)):
        results |= {f"{metric}_accuracy,none": value, f"{metric}_accuracy_stderr,none": "N/A"}
    assert task_scores(results, samples) == {
        "avg_accuracy": BenchmarkScore(0.625, None, 0.5, 0.875),
        "speed_accuracy": BenchmarkScore(0.75, None, 0.25, 1.0),
        "order_accuracy": BenchmarkScore(0.5, None, 0.0, 1.0),
    }


def test_vinoground_counts_pairs_of_videos():
    entries, targets = [], []
    for number in range(2000):
        pair, side, kind = number // 4, number // 2 % 2, ["text", "video"][number % 2]
        right = (number * 7919 + pair * 31) % 10 < 7
        targets.append("AB"[side])
        entries.append(
            {
                "index": f"{pair}_{['pos', 'neg'][side]}",
                "categories": ["all", "object"],
                "question_type": kind,
                "pred": "ab"[side] if right else "BA"[side],
            }
        )
    found = scored("vinoground_score", [50.0, 50.0, 40.0], entries, targets)
    assert {part: score.value for part, score in found.items()} == {
        "text": 0.5,
        "video": 0.5,
        "group": 0.4,
    }
    # 500 pairs: 1.96 * sqrt(0.25 / 500) = 0.044 on either side.
    assert found["text"].low == pytest.approx(0.456, abs=0.005)
    assert found["text"].high == pytest.approx(0.544, abs=0.005)


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        pytest.param(0.9, [{"score": 1.0}, {"score": 0.0}], id="they make up another value"),
        pytest.param(0.5, [{"text": "a"}, {"text": "b"}], id="nothing says right or wrong"),
        pytest.param(1.0, [{"score": 1.0}], id="one answer"),
    ],
)
def test_there_is_no_interval_where_the_answers_do_not_make_up_the_value(value, entries):
    assert scored("mine", value, entries) == {"mine": BenchmarkScore(value)}


def test_what_is_not_a_number_is_no_score():
    results = {"alias": "x", "said,none": "[]", "said_stderr,none": "N/A", " ": " "}
    assert task_scores(results, []) == {}


def test_a_filter_is_part_of_a_metrics_name():
    results = {"acc,strict": 0.5, "acc_stderr,strict": 0.1}
    assert task_scores(results, []) == {
        "acc (strict)": BenchmarkScore(0.5, 0.1, pytest.approx(0.304), pytest.approx(0.696))
    }


def test_a_benchmark_of_several_tasks_has_their_mean():
    found = {
        "sizes": {"b": {}, "a": {}},
        "results": {
            "a": {
                "acc,none": 0.5,
                "acc_stderr,none": 0.03,
                "more,none": 1.0,
                "more_stderr,none": 0.1,
            },
            "b": {"acc,none": 0.7, "acc_stderr,none": 0.04},
        },
        "samples": {"a": [], "b": []},
    }
    scores = benchmark_scores(found)
    assert list(scores) == ["acc", "a: acc", "a: more", "b: acc"]
    # sqrt(0.03^2 + 0.04^2) / 2
    assert scores["acc"] == BenchmarkScore(
        *(pytest.approx(number) for number in (0.6, 0.025, 0.6 - 1.96 * 0.025, 0.6 + 1.96 * 0.025))
    )


def test_the_environment_has_the_libraries_that_the_project_is_tested_with():
    def pins(name):
        text = (REPOSITORY / name).read_text()
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.MULTILINE))

    here, there = pins("requirements.txt"), pins("requirements-lmms-eval.txt")
    shared = here.keys() & there.keys()
    assert {name for name in shared if here[name] != there[name]} - {"filelock"} == {"av"}
    assert shared >= {"torch", "transformers", "qwen-vl-utils", "decord"}
    assert there["lmms-eval"] == VERSIONS["lmms-eval"]


# lmms-eval itself


def installed():
    try:
        return open_lmms(None)[0]
    except UserError:
        return None


LMMS = installed()
real = pytest.mark.skipif(
    LMMS is None,
    reason="lmms-eval is not installed (requirements-lmms-eval.txt, LMMS_EVAL_PYTHON)",
)


@pytest.fixture(scope="module")
def own_task(tmp_path_factory):
    """toy_order with four stories and two questions about each."""
    folder = tmp_path_factory.mktemp("tasks") / "toy_order"
    shutil.copytree(TASK, folder)
    with open(folder / "questions.jsonl", "wb") as file:
        for story in make_world(4, 7, folder, 1, (4,)):
            events = [event["text"].removesuffix(" .") for event in story["events"]]
            for place in (1, 2):
                row = {
                    "videoID": story["video_name"],
                    "video": str(folder / "video" / story["video_name"]),
                    "question": TEMPLATES["after"].format(event=events[place]),
                    "right": events[place + 1],
                    "wrong": events[place - 1],
                }
                file.write(orjson.dumps(row) + b"\n")
    return folder


@real
def test_lmms_eval_has_the_benchmarks_and_the_classes_take_the_arguments():
    wanted = {
        kind.name: [kind.frames, "device_map", "pretrained"]
        + [kind.fps_argument] * bool(kind.fps_argument)
        + ["max_pixels", "min_pixels"] * kind.pixels
        for kind in CLASSES.values()
    }
    program = f"""
import inspect
from lmms_eval.models import get_model
for name, wanted in {wanted}.items():
    taken = inspect.signature(get_model(name, name == "llava_hf").__init__).parameters
    print(name, set(wanted) - taken.keys() or "takes all")
from lmms_eval.tasks import TaskManager
known = TaskManager("ERROR").all_tasks
print("unknown", [task for task in {[t for b in BENCHMARKS.values() for t in b["tasks"]]}
                  if task not in known])
"""
    said = subprocess.run(
        [LMMS, "-P", "-c", program],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert said.stdout.splitlines()[-len(wanted) - 1 :] == [
        *(f"{name} takes all" for name in wanted),
        "unknown []",
    ], said.stderr[-500:]


@real
def test_lmms_eval_shows_toyvl_what_the_toolkit_shows_it(own_task, tmp_path, monkeypatch):
    from evaluation.toy.stories import look, read_stories
    from inference.captioner import Request, Sampling
    from inference.models import open_captioner
    from tools.text.prompts import video_messages

    environment = {"HF_HOME": f"{tmp_path}/hub", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    args = parse(
        *("--tasks", "toy_order", "--include_path", own_task, "--model", "toyvl"),
        *("--out", tmp_path / "scores.json", "--python", LMMS),
    )
    args.run(args)
    scores = orjson.loads((tmp_path / "scores.json").read_bytes())
    task = scores["tasks"]["toy_order"]
    assert scores["versions"] == open_lmms(None)[1]
    assert (task["samples"], task["frames"], task["fps"], task["max_pixels"]) == (8, 32, 1.0, 784)
    for metric in ("word_recall", "order_score"):
        assert task[metric]["low"] <= task[metric]["value"] <= task[metric]["high"]
    assert task["word_recall"]["stderr"] > 0 and task["order_score"]["stderr"] is None

    kept = orjson.loads((tmp_path / "scores.json.lmms" / "toy_order.json").read_bytes())
    answers = {one["doc_id"]: one for one in kept["samples"]["toy_order"]}
    captioner = open_captioner("toyvl")
    captioner.load("cpu", 1)
    rows = [orjson.loads(line) for line in (own_task / "questions.jsonl").read_bytes().splitlines()]
    stories = {story.name: look(story, 1)[0] for story in read_stories(own_task)}
    requests = [
        Request(video_messages(stories[row["videoID"]], row["question"], 1.0), 0) for row in rows
    ]
    # Greedy, with the task's 24 tokens.
    given = dict(captioner.generate(iter(requests), Sampling(0.0, 1.0, 1, 1.0, 24)))
    assert [answers[number]["filtered_resps"] for number in range(8)] == [
        [given[number].text.strip()] for number in range(8)
    ]
