"""A recipe's name in, trained and merged models out: swift trains the stages that are left.

    python -m tools.training.chain NAME     # what bash train_scripts/run.sh NAME does

Each stage starts from the merged model of the one before it. train_scripts/dpo.sh, simpo.sh, sft.sh
and merge.sh call swift. Variables of the environment change their settings, which settings.sh
lists, and the chain's own, which docs/training.md lists with them; DRY_RUN=1 prints every command
and runs nothing.

A stage's folder is EXP_DIR/GROUP/outputs/<the recipe's name up to it>/: v<k>-<time>/checkpoint-<n>,
which swift writes, checkpoint-<n>-merged, and stage.json (settings, versions, commands).
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from tools.cli import run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import REPOSITORY, SWIFT_DATA
from tools.store.locks import locked
from tools.training.machine import choose_devices, installed_versions, number, tuner_flag
from tools.training.preflight import held_out_file, preflight, rows_file
from tools.training.recipe import Recipe, Stage, parse
from tools.training.scripts import Call, pasteable
from tools.training.stages import MERGED, State, check_made_with, find_state, note_run

# Variables whose value `auto` means the same as no value.
AUTO = ("DEVICE", "TORCH_DTYPE", "DEEPSPEED", "ATTN_IMPL")
LAST_CHECKPOINT = "v<k>-<time>/checkpoint-<n>"  # a dry run cannot know its name
PROGRESS = {"partial": "goes on from", "trained": "trained:", "merged": "finished:"}
GRACE_SECONDS = 10  # for swift to end after SIGTERM


class Chain:
    """The stages of a recipe, on this machine; raises UserError if a setting or swift is wrong."""

    def __init__(self, recipe: Recipe, environment: dict[str, str]) -> None:
        self.stages = recipe.stages
        self.versions = installed_versions()
        given = {k: v for k, v in environment.items() if not (k in AUTO and v == "auto")}
        own = {
            "GROUP": f"{recipe.model}_temple_sft60k",  # its experiments share their common stages
            "DATA_DIR": str(SWIFT_DATA),  # rows of every stage
            "EXP_DIR": str(REPOSITORY / "exp"),  # checkpoints
            "DATA_MODEL": recipe.model,  # whose pairs DPO trains on
            "DATA_ITER": "0",  # round of self-generation of these pairs
            "VAL": "auto",  # held-out rows: auto (<rows>_val.json where it exists), none, or a file
            "MERGE_TIMEOUT": "3600",  # seconds that other machines wait for the first one's merge
            "DEVICE": "cuda",  # or cpu
            "SECONDS_PER_STEP": "",  # as measured before, for the estimate of GPU-hours
        }
        self.env = {**own, **given, "BASE": recipe.model}
        for name in ("DATA_DIR", "EXP_DIR", "MODEL", "VAL"):
            # Any other MODEL is an id, any other VAL a word.
            if name.endswith("DIR") or os.path.exists(self.env.get(name, "")):
                self.env[name] = os.path.abspath(self.env[name])
        self.dry_run = self.env.get("DRY_RUN") == "1"
        self.env["TUNER_FLAG"] = tuner_flag(self.versions, self.env.get("LD_ALPHA"))
        for remark in choose_devices(self.env, self.versions, self.dry_run):
            print(remark)
        self.outputs = Path(self.env["EXP_DIR"], self.env["GROUP"], "outputs")
        self.calls = [self.call(stage) for stage in self.stages]
        values = self.calls[0].values
        self.own = {name: values[name] for name in (*own, "MODEL", "PROCESSES")}
        self.merges = values.get("NODE_RANK", "0") == "0"
        self.writes = self.merges and not self.dry_run
        self.lock: int | None = None  # descriptor of the lock on the stage at work

    def train(self) -> None:
        """Train and merge every stage that is left; raises UserError before the first of them if
        something is known to go wrong, or when swift fails."""
        settings = dict(self.own)
        for call in self.calls:
            settings |= call.shaping | call.running
        print(f"recipe {self.stages[-1].name}")
        for name, value in settings.items():
            print(f"  {name}={value}")
        print("versions:", *(f"{package}={version}" for package, version in self.versions.items()))
        exported = (f"{name}={value}" for name, value in self.calls[0].exported.items())
        print("for the commands below: export", *exported)
        for finding in preflight(self.stages, self.outputs, settings, self.writes):
            if not isinstance(finding, UserError):
                print(finding)
            elif self.dry_run:
                print(f"would stop: {finding}", file=sys.stderr)
            else:
                raise finding
        model = self.own["MODEL"]
        for stage in self.stages:
            print(f"\n== {stage.name}")
            folder = self.outputs / stage.name
            busy = f"another run is training {folder}"
            with locked(folder / ".lock", busy) if self.writes else nullcontext() as self.lock:
                model = self.train_stage(stage, folder, model)
        print(f"\n{'would be' if self.dry_run else 'done'}: {model}")

    def call(self, stage: Stage, model: str = "", resume: Path | None = None) -> Call:
        """The script for a stage that starts from `model` (empty: the base model)."""
        rows = rows_file(stage, self.env)
        variables = {
            **self.env,
            **({"MODEL": model} if model else {}),
            "ROWS": str(rows),
            "VAL_ROWS": str(held_out_file(rows, self.env["VAL"]) or ""),
            "OUTPUT_DIR": str(self.outputs / stage.name),
            "RESUME": str(resume or ""),
            "LEARNING_RATE": stage.lr,
            "LORA_RANK": str(stage.rank),
            "LORA_ALPHA": str(stage.alpha),
            "GLOBAL_BATCH": str(stage.batch),
            "FREEZE_VIT": str(stage.freeze).lower(),
        }
        return Call(stage.kind, variables)

    def train_stage(self, stage: Stage, folder: Path, model: str) -> str:
        """Do what is left of a stage that starts from `model`; returns its own merged model."""
        state = find_state(folder)
        call = self.call(stage, model, state.path if state.kind == "partial" else None)
        made_with = {"MODEL": model.removeprefix(f"{self.outputs}/"), **call.shaping}
        rows = rows_file(stage, self.env)
        if state.kind != "new":
            check_made_with(folder, made_with, rows)
            print(PROGRESS[state.kind], state.path)
        if state.kind in ("new", "partial"):
            if self.writes:
                machine = {**self.own, **call.running, **self.versions}
                note_run(folder, rows, made_with, machine, call.words)
            self.run(call)
            state = find_state(folder)
            if self.dry_run:
                state = State("trained", folder / LAST_CHECKPOINT)
        if state.path is None or state.kind == "partial":
            raise UserError(f"swift ended, and left no finished checkpoint in {folder}")
        if state.kind == "merged":
            return str(state.path)
        merged = state.path.with_name(state.path.name + MERGED)
        if self.merges or self.dry_run:
            self.merge(model, state.path, merged)
        else:
            wait_for(merged, number(self.env, "MERGE_TIMEOUT"))
        return str(merged)

    def merge(self, model: str, checkpoint: Path, merged: Path) -> None:
        """Merge LoRA weights into their model, whole or not at all."""
        unfinished = checkpoint.with_name(f"{checkpoint.name}-merging")
        variables = {"MODEL": model, "CHECKPOINT": str(checkpoint), "OUTPUT_DIR": str(unfinished)}
        if not self.dry_run:
            shutil.rmtree(unfinished, ignore_errors=True)
        self.run(Call("merge", {**self.env, **variables}))
        print(pasteable(["mv", "-T", str(unfinished), str(merged)]))
        if not self.dry_run:
            unfinished.rename(merged)

    def run(self, call: Call) -> None:
        """Print a command of swift, then run it by its script, in a process group of its own.

        The group keeps the lock's descriptor: a swift that outlives this process keeps the lock.
        """
        print(pasteable(call.words))
        if self.dry_run:
            return
        child = subprocess.Popen(
            ["bash", call.script],
            env=call.environment,
            stdin=subprocess.DEVNULL,
            process_group=0,
            pass_fds=[] if self.lock is None else [self.lock],
        )
        try:
            status = child.wait()
        except KeyboardInterrupt:
            end_group(child)
            raise
        if status:
            raise UserError(
                f"this command ended with status {status}: swift {call.words[1]} (its messages are"
                " above); the same call goes on from the last checkpoint"
            )


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # A second Ctrl-C must not leave swift behind.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
        for _ in range(GRACE_SECONDS * 10):
            child.poll()
            os.killpg(child.pid, 0)  # raises once nothing of the group is left
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGKILL)


def wait_for(merged: Path, seconds: int) -> None:
    """Wait for the model that the first machine merges; raises UserError if it does not come."""
    print(f"waiting for {merged}")
    for _ in range(seconds):
        if merged.is_dir():
            return
        time.sleep(1)
    raise UserError(
        f"{merged} did not come in {seconds} s (MERGE_TIMEOUT): see what the first machine"
        " (NODE_RANK=0) says"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is left of a recipe."""
    parser = script_parser(__doc__)
    parser.add_argument("name", help="the recipe, such as qwen25vl7b=lr5e-6_r32_a64_bs16_r16-r8")
    args = parser.parse_args(argv)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    os.chdir(os.environ.get("CALLER_DIR", "."))
    Chain(parse(args.name), dict(os.environ)).train()


if __name__ == "__main__":
    run_script(main)
