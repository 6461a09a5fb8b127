"""The wrappers under train_scripts/grounding print here what they would run."""

import os
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "train_scripts" / "grounding"


def commands(script, *arguments, **environment):
    done = subprocess.run(
        ["bash", FOLDER / script, *arguments],
        env={**os.environ, "PYTHON": "echo", **environment},
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "dataset", "experiment"),
    [
        ("run_qa_msvd.sh", "msvdqa", "VideoTGB_blip2flant5xl_ivinstruct"),
        ("run_qa_msrvtt_vicuna.sh", "msrvttqa", "VideoTGB_instructblipvicuna7b_ivinstruct"),
        ("run_qa_activitynet.sh", "activitynetqa", "VideoTGB_blip2flant5xl_ivinstruct"),
    ],
)
def test_a_run_computes_flow_and_answers(script, dataset, experiment):
    assert commands(script, "--num_beams", "5", WORLD_SIZE="8") == [
        f"-m grounding.flow {dataset} 8 --extractor dis",
        f"-m grounding.answer {dataset} 8 --split test --name {experiment} --checkpoint"
        f" exp/{experiment} --sampler exp/VideoTGB_TG_blip2flant5xl_videoinstruct --num_beams 5",
    ]


def test_an_evaluation_scores_and_asks_the_judge_that_is_named():
    file = "data/msvdqa/qa/predictions/test/VideoTGB_blip2flant5xl_ivinstruct.jsonl"
    about = f"--dataset msvdqa --split test --predictions {file} --allow_missing"
    scores = f"evaluate_model.py qa {about}"
    assert commands("eval_qa_msvd.sh") == [scores]
    assert commands("eval_qa_msvd.sh", JUDGE="mine@http://localhost:8000/v1") == [
        scores,
        f"evaluate_model.py judge {about} --judge mine@http://localhost:8000/v1",
    ]
    [other] = commands("eval_qa_activitynet.sh", "mine", SPLIT="val")
    assert "--split val --predictions data/activitynetqa/qa/predictions/val/mine.jsonl" in other


def test_an_experiment_runs_on_all_gpus_of_all_machines():
    [alone] = commands("train.sh", "VideoTGB_X", "data.nframe=8")
    assert alone == (
        "-m torch.distributed.run --nproc_per_node gpu --nnodes 1 --node_rank 0 --master_addr"
        " localhost --master_port 29500 -m grounding.train experiment=VideoTGB_X data.nframe=8"
    )
    [second] = commands("train.sh", "X", NNODES="2", NODE_RANK="1", MASTER_ADDR="a")
    assert "--nnodes 2 --node_rank 1 --master_addr a" in second


@pytest.mark.parametrize(
    "script", ["grounding/train.sh", "grounding/run_qa.sh", "topa_caption.sh", "cater_msrvtt.sh"]
)
def test_the_python_of_an_environment_runs(script, tmp_path):
    """PYTHON wins over VENV, and VENV over what is on PATH."""
    for name in ("venv/bin/python", "other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} $@\n")
        (tmp_path / name).chmod(0o755)
    venv, other = str(tmp_path / "venv"), str(tmp_path / "other")
    for begin, environment in (
        ("venv/bin/python -m ", {"VENV": venv, "PYTHON": ""}),
        ("other -m ", {"VENV": venv, "PYTHON": other}),
    ):
        lines = commands(f"../{script}", "msvdqa", "X", **environment)
        assert lines
        assert all(line.startswith(begin) for line in lines)
