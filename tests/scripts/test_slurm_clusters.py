"""The Slurm templates for Ray and for shards, with stand-ins for the programs of Slurm and Ray."""

import os
import subprocess

import pytest

from tools.store.dataset import REPOSITORY

SRUN = '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n'
SCONTROL = """#!/bin/bash
[[ $* == "show hostnames n[0-1]" ]] && echo node0 && echo node1 && exit
echo "scontrol $*" >>"$LOG"
"""
# RAY: starts (and runs what follows --), loses (its head while that runs), or fails to start.
RAY_PROGRAM = """#!/bin/bash
words=$*
echo "ray ${words//$'\\n'/ }" >>"$LOG"
case $1 in
  get-auth-token) mkdir -p "$HOME/.ray"; echo secret >"$HOME/.ray/auth_token" ;;
  health-check) [[ $RAY == starts ]] ;;
  symmetric-run)
    [[ $RAY != fails ]] || exit 0
    while [[ $1 != -- ]]; do shift; done; shift
    "$@" ;;
esac
"""
PYTHON = '#!/bin/bash\necho "python $*" >>"$LOG"\nexit "${CODE:-0}"\n'


@pytest.fixture
def sbatch(tmp_path):
    """sbatch(script, *words, **variables) -> (exit code, the programs that were called)."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "srun": SRUN, "scontrol": SCONTROL, "ray": RAY_PROGRAM, "python": PYTHON,
    }.items():  # fmt: skip
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    submitted_from = tmp_path / "repository"
    submitted_from.mkdir()

    def run(script, *words, **variables):
        log = tmp_path / "log"
        log.write_text("")
        job = {
            "SLURM_SUBMIT_DIR": str(submitted_from), "SLURM_JOB_ID": "112345",
            "SLURM_JOB_NODELIST": "n[0-1]", "HOME": str(tmp_path), "LOG": str(log),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", REPOSITORY / "train_scripts" / script, *words],
            env={**job, **variables}, capture_output=True, text=True,
        )  # fmt: skip
        assert list(submitted_from.iterdir()) == []
        return done.returncode, log.read_text().splitlines()

    return run


COMMAND = ("python", "preprocess.py", "my videos", "32", "--ray", "auto")


def test_a_ray_cluster_of_all_machines_runs_the_command(sbatch):
    code, calls = sbatch("slurm_ray.sh", *COMMAND, RAY="starts")
    assert code == 0
    token, cluster, command = calls
    assert token == "ray get-auth-token --generate"
    assert cluster.startswith(
        "ray symmetric-run --address node0:22345 --temp-dir /tmp/ray-112345"
        " --object-store-memory=1000000000 --include-dashboard=false --disable-usage-stats -- "
    )
    assert command == "python preprocess.py my videos 32 --ray auto"
    assert sbatch("slurm_ray.sh", *COMMAND, RAY="starts")[1][0] == cluster  # The token is there.


@pytest.mark.parametrize("ended", ["1", "2"])
def test_the_exit_code_is_the_commands(sbatch, ended):
    code, calls = sbatch("slurm_ray.sh", *COMMAND, RAY="starts", CODE=ended)
    assert code == int(ended) and not any("requeue" in call for call in calls)


@pytest.mark.parametrize(
    ("ray", "restarts", "queued_again"),
    [("loses", "0", True), ("loses", "5", False), ("fails", "0", True)],
)
def test_a_lost_head_queues_the_job_again_but_not_for_ever(sbatch, ray, restarts, queued_again):
    more = {"RAY": ray, "CODE": "2", "SLURM_RESTART_COUNT": restarts}
    code, calls = sbatch("slurm_ray.sh", *COMMAND, **more)
    assert code == 1
    assert ("scontrol requeue 112345" in calls) == queued_again


@pytest.mark.parametrize(
    ("task", "variables", "shards"),
    [
        ("0", {}, "00-00"),
        ("255", {}, "ff-ff"),
        ("15", {"SHARDS_A_TASK": "16"}, "f0-ff"),
        ("10", {"SHARD_DIGITS": "3"}, "00a-00a"),
        ("3", {"SHARD_DIGITS": "1", "SHARDS_A_TASK": "4"}, "c-f"),
    ],
)
def test_a_task_of_an_array_runs_its_shards(sbatch, task, variables, shards):
    words = ("python", "preprocess.py", "huge", "8")
    code, calls = sbatch("slurm_shards.sh", *words, SLURM_ARRAY_TASK_ID=task, **variables)
    assert (code, calls) == (0, [f"python preprocess.py huge 8 --shards {shards}"])
