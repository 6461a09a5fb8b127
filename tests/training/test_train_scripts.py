"""Stage 5's scripts: which commands a recipe becomes, and the chain's bookkeeping.

A stand-in for swift writes what swift leaves behind; test_training.py trains for real. Most tests
call the chain in their own process; the scripts are started where that is the point.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from inference.models import models
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.store.jsonl import Table
from tools.training import chain
from tools.training.recipe import parse
from tools.training.scripts import Call
from tools.video.checks import file_version
from tools.video.sampling import READER_VERSION

SCRIPTS = REPOSITORY / "train_scripts"
READER = SCRIPTS / "video_reader.py"
PAPER = "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2=lr1e-4_r32_a32_bs16_sft60k"
SHORT = "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16=lr1e-4_r32_a32_bs16_sft60k"
R16, R16_R8 = (f"qwen2vl7b=lr1e-3_r8_a16_bs2_freeze_{levels}" for levels in ("r16", "r16-r8"))
GPU_BOX = {
    "ms-swift": "4.6.0", "transformers": "4.57.6", "torch": "2.14.1", "deepspeed": "0.18.0",
    "flash-attn": "2.8.3", "decord": "0.6.0",
}  # fmt: skip

SWIFT = """#!/bin/bash
echo "$*" >>{log}
case $BEHAVIOUR in
  fail) echo "no memory" >&2; exit 1 ;;
  fail_export) [[ $1 != export ]] || {{ mkdir -p "${{@: -1}}"; exit 1; }} ;;
  hang) sleep 1000 & echo $! >{log}.child; wait ;;
esac
while (($#)); do
  if [[ $1 == --output_dir ]]; then output=$2; fi
  if [[ $1 == export ]]; then export=yes; fi
  shift
done
[[ -n $export ]] && {{ mkdir "$output" && echo merged >"$output/config.json"; exit; }}
checkpoint=$output/v0-20260101-000000/checkpoint-3
mkdir -p "$checkpoint"
echo '{{"global_step": 3, "max_steps": 3}}' >"$checkpoint/trainer_state.json"
"""


class Machine:
    """A machine with a stand-in for swift, GPUs as nvidia-smi lists them, and rows to train on."""

    def __init__(self, folder, monkeypatch, capfd):
        self.monkeypatch, self.capfd = monkeypatch, capfd
        self.bin, self.log = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self.program("swift", SWIFT.format(log=self.log))
        self.gpus(0)
        self.installed(GPU_BOX)
        self.data, self.model, self.exp = (folder / name for name in ("data", "model", "exp"))
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        self.outputs = self.exp / "toy" / "outputs"
        self.env = {
            **{name: value for name, value in os.environ.items() if name in ("HOME", "TMPDIR")},
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHON": sys.executable,
            "HF_HUB_OFFLINE": "1",
        }

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def gpus(self, count):
        listed = "".join(f"GPU {gpu}: NVIDIA H100\\n" for gpu in range(count))
        self.program("nvidia-smi", f"#!/bin/bash\nprintf '{listed}'\n")

    def installed(self, versions):
        self.monkeypatch.setattr(chain, "installed_versions", lambda: versions)

    def rows(self, *names):
        """Files of one row each, as the recipe R16_R8 reads them."""
        video = self.data / "v.mp4"
        self.data.mkdir(exist_ok=True)
        video.touch()
        # As if it had been read: what reads videos is tested elsewhere.
        seen = {"width": 96, "height": 64, "frames": 72, "rate": 12.0}
        known = {**file_version(str(video), f"toolkit {READER_VERSION}"), **seen}
        Table(self.data / "video_checks.jsonl").write([known])
        question = {"role": "user", "content": "<video>What happens?"}
        answer = {"role": "assistant", "content": "Rain, then sun."}
        row = {"messages": [question, answer], "videos": [str(video)]}
        for name in names or ("qwen2vl7b_i0_r16.json", "qwen2vl7b_i0_r8.json"):
            pair = {} if name == "toys.json" else {"rejected_response": "Sun."}
            (self.data / name).write_text(json.dumps([{**row, **pair}]))

    @property
    def settings(self):
        """As small as it goes: a toy group, on the CPU."""
        return {
            "DEVICE": "cpu", "GROUP": "toy", "DATA_DIR": str(self.data),
            "EXP_DIR": str(self.exp), "MODEL": str(self.model),
        }  # fmt: skip

    def start(self, *words, program="run.sh", **settings):
        """Start a script, as a user does."""
        return subprocess.Popen(
            ["bash", SCRIPTS / program, *words], env={**self.env, **settings},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip

    def script(self, *words, **settings):
        """Run a script to its end; gives what it prints."""
        run = self.start(*words, **settings)
        out, err = run.communicate(timeout=100)
        assert run.returncode == 0, out + err
        return out

    def run(self, *words, code=0, **settings):
        """What run.sh does, in this process."""
        self.capfd.readouterr()
        with self.monkeypatch.context() as patch:
            patch.setattr(os, "environ", {**self.env, **settings})
            patch.chdir(os.curdir)
            ended = 0
            try:
                chain.main(words)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                ended = 2
            except SystemExit as end:
                ended = end.code
        out, err = self.capfd.readouterr()
        done = SimpleNamespace(stdout=out, stderr=err)
        assert ended == code, done.stdout + done.stderr
        return done

    def train(self, *words, **settings):
        return self.run(*words, **{**self.settings, **settings})

    def noted(self):
        return sorted(self.outputs.glob("*/stage.json"))

    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path, monkeypatch, capfd):
    return Machine(tmp_path, monkeypatch, capfd)


def commands(shown):
    """What a dry run prints from the first stage on."""
    return shown[shown.index("== ") :]


# ---- commands -----------------------------------------------------------------------------------


def test_the_papers_commands_on_eight_gpus(machine):
    shown = machine.run(
        SHORT, DRY_RUN="1", DEVICE="cuda", NPROC_PER_NODE="8", EXP_DIR="/exp", DATA_DIR="/rows"
    ).stdout
    # The paper's constants, and the one that its ms-swift set by itself: --rpo_alpha 1.0.
    out = "/exp/qwen25vl7b_temple_sft60k/outputs"
    dpo = f"{out}/qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16"
    dpo_last, sft_last = (f"{at}/v<k>-<time>/checkpoint-<n>" for at in (dpo, f"{out}/{SHORT}"))
    assert (
        commands(shown)
        == rf"""== qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16
swift rlhf \
    --rlhf_type dpo \
    --beta 0.1 \
    --loss_type sigmoid \
    --rpo_alpha 1.0 \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --model_type qwen2_5_vl \
    --template qwen2_5_vl \
    --check_model false \
    --dataset /rows/qwen25vl7b_i0_r16.json \
    --split_dataset_ratio 0 \
    --tuner_type lora \
    --lora_rank 32 \
    --lora_alpha 64 \
    --target_modules all-linear \
    --freeze_vit true \
    --freeze_aligner true \
    --torch_dtype bfloat16 \
    --attn_impl flash_attn \
    --learning_rate 5e-6 \
    --lr_scheduler_type cosine \
    --warmup_ratio 0.05 \
    --num_train_epochs 1 \
    --max_length 16384 \
    --per_device_train_batch_size 1 \
    --per_device_eval_batch_size 1 \
    --gradient_accumulation_steps 2 \
    --eval_steps 50000 \
    --save_steps 500 \
    --logging_steps 5 \
    --dataloader_num_workers 8 \
    --dataset_num_proc 8 \
    --report_to tensorboard \
    --seed 42 \
    --output_dir {dpo} \
    --deepspeed zero2 \
    --external_plugins {READER}
swift export \
    --model Qwen/Qwen2.5-VL-7B-Instruct \
    --adapters "{dpo_last}" \
    --external_plugins {READER} \
    --merge_lora true \
    --output_dir "{dpo_last}-merging"
mv -T "{dpo_last}-merging" "{dpo_last}-merged"

== {SHORT}
swift sft \
    --model "{dpo_last}-merged" \
    --model_type qwen2_5_vl \
    --template qwen2_5_vl \
    --check_model false \
    --dataset /rows/llava-video-sft-60k.json \
    --split_dataset_ratio 0 \
    --tuner_type lora \
    --lora_rank 32 \
    --lora_alpha 32 \
    --target_modules all-linear \
    --freeze_vit false \
    --freeze_aligner true \
    --torch_dtype bfloat16 \
    --attn_impl flash_attn \
    --learning_rate 1e-4 \
    --lr_scheduler_type cosine \
    --warmup_ratio 0.05 \
    --num_train_epochs 1 \
    --max_length 16384 \
    --per_device_train_batch_size 1 \
    --per_device_eval_batch_size 1 \
    --gradient_accumulation_steps 2 \
    --eval_steps 50000 \
    --save_steps 500 \
    --logging_steps 5 \
    --dataloader_num_workers 8 \
    --dataset_num_proc 8 \
    --report_to tensorboard \
    --seed 42 \
    --output_dir {out}/{SHORT} \
    --deepspeed zero2 \
    --external_plugins {READER}
swift export \
    --model "{dpo_last}-merged" \
    --adapters "{sft_last}" \
    --external_plugins {READER} \
    --merge_lora true \
    --output_dir "{sft_last}-merging"
mv -T "{sft_last}-merging" "{sft_last}-merged"

would be: {sft_last}-merged
"""
    )
    assert machine.calls() == [] and not Path("/exp").exists()
    assert (
        f"export PYTHONPATH={REPOSITORY} FPS=1 FPS_MAX_FRAMES=600 VIDEO_MIN_PIXELS=3136"
        " VIDEO_TOTAL_PIXELS=9000000"
    ) in shown
    assert "MODEL_SEQ_LEN=12755 USE_HF=1 NPROC_PER_NODE=8\n" in shown


def test_a_script_runs_by_hand(machine, tmp_path):
    # What a person who knows swift types; nothing but the model, the rows and a folder is needed.
    by_hand = {"BASE": "qwen25vl7b", "NPROC_PER_NODE": "4", "DEEPSPEED": ""}
    out = str(tmp_path / "out")
    train = {"OUTPUT_DIR": out, **by_hand}
    machine.script(program="dpo.sh", ROWS="pairs.json", BETA="0.3", **train)
    machine.script(program="sft.sh", ROWS="rows.json", **train)
    machine.script(program="merge.sh", CHECKPOINT="c", OUTPUT_DIR=f"{out}/m", **by_hand)
    dpo, sft, merge = machine.calls()
    assert dpo.startswith(
        "rlhf --rlhf_type dpo --beta 0.3 --loss_type sigmoid --rpo_alpha 1.0"
        " --model Qwen/Qwen2.5-VL-7B-Instruct --model_type qwen2_5_vl --template qwen2_5_vl"
    )
    assert "--lora_alpha 64" in dpo and "--learning_rate 5e-6" in dpo and "--freeze_vit true" in dpo
    assert "--gradient_accumulation_steps 4" in dpo and "deepspeed" not in dpo
    assert (
        "--lora_alpha 32" in sft and "--learning_rate 1e-4" in sft and "--freeze_vit false" in sft
    )
    assert merge == (
        "export --model Qwen/Qwen2.5-VL-7B-Instruct --adapters c"
        f" --external_plugins {READER} --merge_lora true --output_dir {out}/m"
    )
    run = machine.start(program="dpo.sh", ROWS="pairs.json")
    assert "MODEL: is not known for" in run.communicate()[1] and run.returncode


def test_all_scripts_pass_the_same_flags(machine):
    # The commands stand in full in each file; what they share must not drift apart.
    env = {**machine.env, "BASE": "toyvl", "ROWS": "rows", "OUTPUT_DIR": "out", "RESUME": "c"}
    for name in ("FREEZE_VIT", "LORA_ALPHA", "LEARNING_RATE"):
        env[name] = "1"
    env["GLOBAL_BATCH"] = "16"
    dpo, simpo, sft, grpo = (Call(name, env).words for name in ("dpo", "simpo", "sft", "grpo"))
    shared = dpo[dpo.index("--model") :]
    reward = str(REPOSITORY / "train_scripts" / "order_reward.py")
    assert reward in grpo
    with pytest.raises(UserError, match="a batch of 4 answers cannot be shared by videos of 8"):
        Call("grpo", {**env, "GLOBAL_BATCH": "4"})
    assert shared == [word for word in grpo[grpo.index("--model") :] if word != reward]
    assert shared == sft[sft.index("--model") :] == simpo[simpo.index("--model") :]
    assert simpo[:9] == [
        *("swift", "rlhf", "--rlhf_type", "simpo", "--beta", "2.0", "--simpo_gamma", "1.0"),
        "--cpo_alpha",
    ]


def test_ms_swift_3_has_other_names(machine):
    machine.gpus(8)
    machine.installed({"ms-swift": "3.7.0.dev0", "decord": "0.6.0"})
    shown = machine.run(SHORT, DRY_RUN="1").stdout
    assert shown.count("    --train_type lora \\\n") == 2 and "--tuner_type" not in shown
    assert "--rpo_alpha 1.0" in shown
    # Neither of the two is installed there.
    assert "DeepSpeed is not installed: training without ZeRO-2\n" in shown
    assert "flash-attn is not installed: attention by PyTorch (sdpa)\n" in shown
    assert "--deepspeed" not in shown and "--attn_impl sdpa" in shown


def test_without_a_gpu(machine):
    shown = machine.run(SHORT, DRY_RUN="1", DEVICE="cpu").stdout
    assert "training on the CPU, without DeepSpeed and flash-attention\n" in shown
    assert "--torch_dtype float32 \\\n    --attn_impl sdpa" in shown
    assert "--gradient_accumulation_steps 16" in shown
    assert "--deepspeed" not in shown and "NPROC_PER_NODE" not in shown
    assert flag(shown, "dataloader_num_workers") == ["0", "0"]
    assert flag(shown, "logging_steps") == ["1", "1"]  # so the last step is logged too


def test_threads_on_a_cpu(machine):
    half = str((len(os.sched_getaffinity(0)) + 1) // 2)
    for recipe, settings, threads in (
        (SHORT, {}, half),
        ("toyvl=lr3e-3_r32_a64_bs8_r16", {}, "1"),
        ("toyvl=lr3e-3_r32_a64_bs8_r16", {"OMP_NUM_THREADS": "3"}, "3"),
    ):
        shown = machine.run(recipe, DRY_RUN="1", DEVICE="cpu", **settings).stdout
        assert f"export CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS={threads} " in shown


def test_a_dry_run_without_a_gpu_shows_another_machines_commands(machine):
    # As on the login node of a cluster, where neither GPUs nor DeepSpeed are.
    machine.installed({"ms-swift": "4.6.0", "decord": "0.6.0"})
    shown = machine.run(SHORT, DRY_RUN="1", DRY_RUN_GPUS="8").stdout
    assert "commands of a machine with 8 GPUs (DRY_RUN_GPUS names another number)" in shown
    assert machine.run(SHORT, DRY_RUN="1", NPROC_PER_NODE="8").stdout == shown
    assert flag(shown, "deepspeed") == ["zero2"] * 2
    assert flag(shown, "attn_impl") == ["flash_attn"] * 2
    assert flag(shown, "torch_dtype") == ["bfloat16"] * 2
    assert flag(shown, "gradient_accumulation_steps") == ["2", "2"]
    shown = machine.run(SHORT, DRY_RUN="1", DEEPSPEED="", ATTN_IMPL="sdpa").stdout
    assert flag(shown, "deepspeed") == [] and flag(shown, "attn_impl") == ["sdpa"] * 2


def flag(shown, name):
    return re.findall(rf"^    --{name} (.*?)(?: \\)?$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"RPO_ALPHA": "0"}, {"rpo_alpha": ["0"]}),
        ({"BETA": "0.05", "LD_ALPHA": "0.5"}, {"beta": ["0.05"], "ld_alpha": ["0.5"]}),
        (
            {"LOSS_TYPE": "sigmoid bco_pair", "LOSS_WEIGHTS": "0.8 0.2"},
            {"loss_type": ["sigmoid bco_pair"], "loss_weights": ["0.8 0.2"]},
        ),
        (
            {"EPOCHS": "2", "MAX_LENGTH": "8192"},
            {"num_train_epochs": ["2"], "max_length": ["8192"]},
        ),
        ({"EXTRA_FLAGS": "--weight_decay 0 --neftune_noise_alpha 5"}, {"weight_decay": ["0"]}),
        ({"DATA_MODEL": "mimovl", "DATA_ITER": "1"}, {"dataset": ["/rows/mimovl_i1_r16.json"]}),
        ({"MODEL": "org/mine", "MODEL_TYPE": "t"}, {"model": ["org/mine"], "model_type": ["t"]}),
        ({"TEMPLATE": "mine"}, {"template": ["mine"]}),
        ({"DEEPSPEED": "zero3", "ATTN_IMPL": "eager"}, {"deepspeed": ["zero3"]}),
        ({"DEEPSPEED": ""}, {"deepspeed": []}),
        ({"PER_DEVICE_BATCH": "2"}, {"gradient_accumulation_steps": ["4"]}),
        ({"VAL": "/held/out.json"}, {"val_dataset": ["/held/out.json"]}),
        (
            {"SEED": "7", "SAVE_STEPS": "50", "EVAL_STEPS": "9"},
            {"seed": ["7"], "eval_steps": ["9"]},
        ),
    ],
)
def test_settings_come_from_the_environment(machine, settings, flags):
    base = {"DRY_RUN": "1", "DEVICE": "cuda", "NPROC_PER_NODE": "2", "DATA_DIR": "/rows"}
    shown = machine.run(SHORT.rsplit("=", 1)[0], **base, **settings).stdout
    assert {name: flag(shown.split("swift export")[0], name) for name in flags} == flags
    for name, value in settings.items():
        assert f"  {name}={value}\n" in shown  # and are printed at the start


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"NPROC_PER_NODE": "1"}, "16"),
        ({"NPROC_PER_NODE": "4"}, "4"),
        ({"NPROC_PER_NODE": "16"}, "1"),
        ({"NPROC_PER_NODE": "8", "NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "n0"}, "1"),
        ({"NPROC_PER_NODE": "4", "NNODES": "1", "NODE_RANK": "0"}, "4"),
    ],
)
def test_the_global_batch_stays_what_the_name_says(machine, settings, steps):
    shown = machine.run(SHORT, DRY_RUN="1", DEVICE="cuda", **settings).stdout
    assert flag(shown, "gradient_accumulation_steps") == [steps, steps]


@pytest.mark.parametrize(
    ("model", "flags", "sequence"),
    [
        ("qwen25vl7b", ["Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", "qwen2_5_vl"], 12755),
        ("qwen2vl7b", ["Qwen/Qwen2-VL-7B-Instruct", "qwen2_vl", "qwen2_vl"], 12755),
        ("mimovl", ["XiaomiMiMo/MiMo-VL-7B-SFT", "qwen2_5_vl", "mimo_vl"], 12755),
        ("qwen3vl8b", ["Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", "qwen3_vl"], 9765),
    ],
)
def test_a_model_known_by_name(machine, model, flags, sequence):
    # A visual token is 28 pixels wide, with Qwen3-VL 32: 9000000 / (0.9 * side * side) tokens.
    shown = machine.run(f"{model}=lr5e-6_r8_a8_bs8_r2", DRY_RUN="1", DEVICE="cpu").stdout
    found = [flag(shown, name)[0] for name in ("model", "model_type", "template")]
    assert found == flags and f"  MODEL_SEQ_LEN={sequence}\n" in shown


def test_a_model_of_ones_own(machine):
    settings = {"DRY_RUN": "1", "DEVICE": "cpu", "MODEL": "org/mine", "MODEL_TYPE": "its_type"}
    shown = machine.run("mine=lr5e-6_r8_a8_bs8_r2", **settings).stdout
    assert flag(shown, "template") == ["its_type"]
    assert flag(shown, "dataset")[0].endswith("/swift_data/mine_i0_r2.json")


def test_several_machines(machine):
    settings = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node0", "NPROC_PER_NODE": "8"}
    shown = machine.run(SHORT, DRY_RUN="1", DEVICE="cuda", **settings).stdout
    exported = "NPROC_PER_NODE=8 NNODES=2 NODE_RANK=1 MASTER_ADDR=node0 MASTER_PORT=29500\n"
    assert exported in shown


def slurm(machine, *words, nodes="2", **settings):
    """What slurm.sh runs on the second of its machines."""
    machine.program("srun", '#!/bin/bash\nshift\nSLURM_NODEID=1 exec "$@"\n')
    machine.program("scontrol", '#!/bin/bash\n[[ $* == "show hostnames n[0-1]" ]]\necho node0\n')
    return machine.script(
        *words, program="slurm.sh", SLURM_NNODES=nodes, SLURM_JOB_ID="112345",
        SLURM_JOB_NODELIST="n[0-1]", SLURM_SUBMIT_DIR=str(REPOSITORY), **settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "nodes", "exported"),
    [
        (
            [SHORT],
            "2",
            "NPROC_PER_NODE=8 NNODES=2 NODE_RANK=1 MASTER_ADDR=node0 MASTER_PORT=22345\n",
        ),
        (["bash", "train_scripts/run.sh", SHORT], "1", "USE_HF=1 NPROC_PER_NODE=8\n"),
    ],
)
def test_the_slurm_template(machine, words, nodes, exported):
    settings = {"DRY_RUN": "1", "DEVICE": "cuda", "NPROC_PER_NODE": "8"}
    shown = slurm(machine, *words, nodes=nodes, **settings)
    assert f"recipe {SHORT}\n" in shown and exported in shown


def test_the_slurm_template_runs_any_command(machine):
    words = ["python", "generate_meta_data.py", "8", "--dataset", "my videos"]
    machine.program("python", '#!/bin/bash\nprintf "%s|" "$NODE_RANK" "$PWD" "$@"\n')
    assert slurm(machine, *words) == f"1|{REPOSITORY}|" + "|".join(words[1:]) + "|"


STAGES = {f"{stage.name}.sh": stage.name for stage in parse(PAPER).stages}
RUNS = sorted(path.name for path in SCRIPTS.glob("run_*.sh"))


@pytest.mark.parametrize("program", [*STAGES, *RUNS])
def test_scripts_hand_their_recipe_to_the_chain(machine, program):
    # echo in Python's place shows how it would be called.
    *command, recipe = machine.script(program=program, PYTHON="echo").split()
    assert command == ["-m", "tools.training.chain"]
    assert recipe == STAGES.get(program, recipe)
    assert (parse(recipe) == parse(PAPER)) == (
        program in (f"{PAPER}.sh", "run_qwen25vl7b_temple_sft60k.sh")
    )


def test_a_recipe_is_its_chain_of_stages(machine):
    shown = machine.script(PAPER, DRY_RUN="1", DEVICE="cpu")
    assert re.findall(r"^== (.*)$", shown, re.MULTILINE) == list(STAGES.values())
    assert f"  EXP_DIR={REPOSITORY}/exp\n" in shown


def test_every_script_that_is_named_like_a_recipe_is_one():
    for path in SCRIPTS.glob("*=*.sh"):
        assert parse(path.stem).stages[-1].name == path.stem


def test_models_known_by_name_are_those_of_the_captioners(machine):
    names = re.findall(r"^  (\w+)\) : ", (SCRIPTS / "settings.sh").read_text(), re.MULTILINE)
    assert sorted(names) == ["mimovl", "qwen25vl7b", "qwen2vl7b", "qwen3vl8b", "toyvl"]
    for name in names:
        env = {**machine.env, "BASE": name, "CHECKPOINT": "c", "OUTPUT_DIR": "o"}
        words = Call("merge", env).words
        assert words[words.index("--model") + 1] == models()[name].checkpoint


# ---- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "settings", "line"),
    [
        ([], {}, "the following arguments are required: name"),
        (["qwen2vl7b=lr5e-6_r16"], {}, "the LoRA rank is missing, such as r32, before 'r16'"),
        (
            ["mine=lr5e-6_r8_a8_bs8_r16"],
            {"MODEL": ""},
            "MODEL: is not known for mine: give a folder or an id of a hub",
        ),
        (
            ["mine=lr5e-6_r8_a8_bs8_r16"],
            {},
            "MODEL_TYPE: is not known for mine: give its type in swift",
        ),
        ([R16], {"DEVICE": "auto"}, "no GPU is visible: DEVICE=cpu trains without one"),
        ([R16], {"DEVICE": "gpu"}, "DEVICE=gpu: auto, cuda or cpu"),
        (
            [R16],
            {"NPROC_PER_NODE": "3"},
            "a global batch of 2 cannot be shared by 3 processes of 1",
        ),
        ([R16], {"NNODES": "2"}, "NODE_RANK: is needed: the number of this machine, 0 to 1"),
        (
            [R16.replace("r16", "mine")],
            {},
            "mine.json: no such file; put rows in ms-swift's format",
        ),
        (
            [R16.replace("r16", "sft9")],
            {},
            "sft-9.json: no such file; python -m tools.training.sft_d",
        ),
        ([R16], {"PER_DEVICE_BATCH": "two"}, "two: unbound variable"),
        ([R16], {"FPS": "fast"}, "FPS: 'fast' is not a number above 0"),
        ([R16], {"DATA_ITER": "-1"}, "DATA_ITER: '-1' is not a whole number of 0 or more"),
        ([R16], {"MODEL": "/nowhere"}, "MODEL=/nowhere: no config.json in it, so it is no model"),
        (
            [R16],
            {"DATA_MODEL": "m"},
            "m_i0_r16.json: no such file; python convert_to_swift.py m 16",
        ),
        (
            [R16_R8],
            {},
            "qwen2vl7b_i0_r8.json: no such file; python convert_to_swift.py qwen2vl7b 8",
        ),
    ],
)
def test_a_mistake_gets_one_line_before_anything_is_run(machine, words, settings, line):
    machine.rows("qwen2vl7b_i0_r16.json")
    done = machine.train(*words, code=2, **settings)
    assert line in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert machine.calls() == []


@pytest.mark.parametrize(
    ("versions", "settings", "line"),
    [
        (
            {"ms-swift": "2.6.1", "decord": "0.6.0"},
            {},
            "ms-swift 2.6.1 is not supported: install 3.7 or later",
        ),
        ({"torch": "2.14.1"}, {}, "swift is not installed: pip install -r requirements.txt"),
        ({"ms-swift": "4.6.0"}, {}, "swift has no reader of videos: pip install decord"),
        (
            {"ms-swift": "3.7.3", "decord": "0.6.0"},
            {"LD_ALPHA": "0.5"},
            "LD_ALPHA needs ms-swift 3.8 or later",
        ),
    ],
)
def test_an_environment_that_cannot_train_gets_one_line(machine, versions, settings, line):
    machine.installed(versions)
    done = machine.train(R16, code=2, **settings)
    assert line in done.stderr and done.stderr.count("\n") == 1


def test_one_process_trains_on_each_gpu(machine):
    machine.gpus(4)
    machine.rows("qwen2vl7b_i0_r16.json")
    settings = {"DEVICE": "auto", "DRY_RUN": "1"}
    shown = machine.train(R16.replace("bs2", "bs16"), **settings).stdout
    assert "NPROC_PER_NODE=4\n" in shown and "--gradient_accumulation_steps 4" in shown
    shown = machine.train(R16, CUDA_VISIBLE_DEVICES="2,3", **settings).stdout
    assert "NPROC_PER_NODE=2\n" in shown
    done = machine.train(R16, NPROC_PER_NODE="2", code=2, **settings)
    assert "NPROC_PER_NODE=2, and 4 GPUs are visible: one process trains on each" in done.stderr
    done = machine.train(R16, CUDA_VISIBLE_DEVICES="", DEVICE="cuda", code=2)
    assert "no GPU is visible: DEVICE=cpu trains without one" in done.stderr


def test_a_dry_run_says_what_would_stop_it_and_goes_on(machine):
    done = machine.train(R16_R8, DRY_RUN="1", MODEL="/nowhere")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["would stop"] * 3
    assert done.stdout.count("swift rlhf") == 2
    assert not machine.exp.exists()


# ---- the chain ----------------------------------------------------------------------------------


def test_finished_stages_are_skipped_and_shared(machine):
    machine.rows()
    machine.train(R16)
    assert [call.split()[0] for call in machine.calls()] == ["rlhf", "export"]
    done = machine.train(R16_R8)
    assert [call.split()[0] for call in machine.calls()] == ["rlhf", "export"] * 2
    merged = machine.outputs / R16 / "v0-20260101-000000" / "checkpoint-3-merged"
    assert f"finished: {merged}\n" in done.stdout
    assert f"--model {merged} " in machine.calls()[2]
    done = machine.train(R16_R8)
    assert len(machine.calls()) == 4
    assert done.stdout.endswith(
        f"done: {machine.outputs}/{R16_R8}/v0-20260101-000000/checkpoint-3-merged\n"
    )


def test_relative_places_are_those_of_the_callers_folder(machine, tmp_path):
    machine.rows()
    settings = {"MODEL": "model", "DATA_DIR": "data", "EXP_DIR": "exp"}
    machine.train(R16, CALLER_DIR=str(tmp_path), **settings)
    assert f"--dataset {machine.data}/qwen2vl7b_i0_r16.json" in machine.calls()[0]
    assert (machine.outputs / R16 / "stage.json").exists()


def test_a_stage_made_with_other_settings_is_not_shared(machine):
    machine.rows()
    machine.train(R16)
    done = machine.train(R16_R8, BETA="0.3", code=2)
    assert done.stderr == (
        f"error: {machine.outputs}/{R16} was trained with BETA='0.1', now '0.3': name another"
        " GROUP, or move that folder away\n"
    )
    machine.train(R16_R8, WORKERS="2", SAVE_STEPS="9")  # these shape no weights
    (machine.data / "qwen2vl7b_i0_r16.json").write_text("[]")
    assert "was trained with other content of" in machine.train(R16, code=2).stderr


def test_what_is_noted_of_a_stage(machine):
    # Stages of earlier versions of the toolkit hold these names and values; they must stay.
    machine.rows("qwen2vl7b_i0_r16.json", "toys.json")
    machine.train(f"{R16}=lr1e-4_r8_a8_bs1_toys")
    shared = {
        "MODEL_TYPE": "qwen2_vl", "TEMPLATE": "qwen2_vl", "TORCH_DTYPE": "float32", "FPS": "1",
        "FPS_MAX_FRAMES": "600", "VIDEO_MIN_PIXELS": "3136", "VIDEO_TOTAL_PIXELS": "9000000",
        "MODEL_SEQ_LEN": "12755", "EPOCHS": "1", "MAX_LENGTH": "16384", "WARMUP_RATIO": "0.05",
        "LR_SCHEDULER": "cosine", "TARGET_MODULES": "all-linear", "FREEZE_ALIGNER": "true",
        "SEED": "42", "EXTRA_FLAGS": "",
    }  # fmt: skip
    dpo = {
        "RPO_ALPHA": "1.0", "BETA": "0.1", "LOSS_TYPE": "sigmoid", "LOSS_WEIGHTS": "",
        "LD_ALPHA": "",
    }  # fmt: skip
    first, second = (json.loads(path.read_text()) for path in machine.noted())
    assert first["made_with"]["settings"] == {"MODEL": str(machine.model), **shared, **dpo}
    merged = f"{R16}/v0-20260101-000000/checkpoint-3-merged"
    assert second["made_with"]["settings"] == {"MODEL": merged, **shared}
    (run,) = first["runs"]
    assert run["command"][1:] == machine.calls()[0].split()
    assert run["with"] == {**run["with"], **GPU_BOX, "WORKERS": "0", "VAL": "auto", "GROUP": "toy"}


def test_a_stage_without_a_checkpoint_may_start_with_other_settings(machine):
    machine.rows()
    machine.train(R16, BEHAVIOUR="fail", code=2)
    machine.train(R16, BETA="0.3")


def test_a_merge_that_failed_is_done_again_without_training_again(machine):
    machine.rows()
    done = machine.train(R16, BEHAVIOUR="fail_export", code=2)
    assert "this command ended with status 1: swift export" in done.stderr
    (run,) = machine.outputs.joinpath(R16).glob("v0-*")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-3", "checkpoint-3-merging"]
    done = machine.train(R16)
    assert f"trained: {run}/checkpoint-3\n" in done.stdout
    assert [call.split()[0] for call in machine.calls()] == ["rlhf", "export", "export"]
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-3", "checkpoint-3-merged"]


def test_a_training_that_failed_ends_the_chain_in_one_line(machine):
    machine.rows()
    done = machine.train(R16_R8, BEHAVIOUR="fail", code=2)
    assert done.stderr == (
        "no memory\nerror: this command ended with status 1: swift rlhf (its messages are above);"
        " the same call goes on from the last checkpoint\n"
    )
    assert len(machine.calls()) == 1


def start(machine):
    """Start a chain, and wait until its swift runs."""
    machine.rows()
    run = machine.start(R16, BEHAVIOUR="hang", **machine.settings)
    child = Path(f"{machine.log}.child")
    while not (child.exists() and child.read_text().endswith("\n")):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.01)
    return run, int(child.read_text())


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_chain_takes_all_of_swift_with_it(machine, how):
    run, child = start(machine)
    run.send_signal(how)
    assert run.wait(timeout=10) == 130
    assert not is_alive(child)
    assert run.stderr.read().splitlines()[-1] == (
        "interrupted: all that was finished is kept; the same command goes on"
    )
    run.communicate()


def test_a_swift_that_outlives_its_script_keeps_others_out(machine):
    run, child = start(machine)
    try:
        run.kill()
        run.wait()
        done = machine.train(R16, code=2)
        line = f"error: another run is training {machine.outputs}/{R16} (pid {run.pid} on "
        assert done.stderr.startswith(line) and done.stderr.endswith(": wait for it or stop it\n")
    finally:
        os.kill(child, signal.SIGKILL)
        run.communicate()


def test_two_chains_do_not_train_one_stage(machine):
    machine.rows()
    folder = machine.outputs / R16
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is training" in machine.train(R16, code=2).stderr
    machine.train(R16)


def test_a_second_machine_trains_along_and_waits_for_the_first_ones_merge(machine):
    machine.rows()
    nodes = {"NNODES": "2", "MASTER_ADDR": "localhost"}
    run = machine.start(R16, **machine.settings, **nodes, NODE_RANK="1")
    shown = ""
    while "waiting for" not in shown:
        shown = run.stdout.readline()
        assert shown, "it ended without waiting"
    assert [call.split()[0] for call in machine.calls()] == ["rlhf"]
    assert not (machine.outputs / R16 / "stage.json").exists()
    machine.train(R16, **nodes, NODE_RANK="0")
    assert run.communicate(timeout=20)[0].endswith("checkpoint-3-merged\n")
    assert [call.split()[0] for call in machine.calls()] == ["rlhf", "export"]


def test_a_merge_that_does_not_come_ends_the_wait(machine):
    machine.rows()
    nodes = {"NNODES": "2", "MASTER_ADDR": "localhost", "NODE_RANK": "1", "MERGE_TIMEOUT": "1"}
    done = machine.train(R16, code=2, **nodes)
    assert (
        "checkpoint-3-merged did not come in 1 s (MERGE_TIMEOUT): see what the fir" in done.stderr
    )
