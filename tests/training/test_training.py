"""Stage 5 for real: ms-swift trains tiny models on pairs of the toy world, on the CPU.

The checks share two trainings, the chain and two processes of toyvl, and one swift that is started
already (reproduction/warm_swift.py), since to start it takes ten seconds or more.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from tokenizers import Tokenizer

from reproduction.temple.arms import arms
from tests.video.damage import CODECS
from tools.pairs.perturbation import Config, select
from tools.pairs.swift_rows import swift_row
from tools.store.dataset import REPOSITORY
from tools.text.order import agreement
from tools.text.prompts import QUESTIONS
from tools.training.recipe import parse
from tools.training.report import read_log, table_row
from tools.training.row_lengths import RowLengths
from tools.training.scripts import Call
from tools.training.stages import checkpoints, find_state, version_folders
from tools.video.budget import Budget
from toyworld.language import narrate
from toyworld.make import make_world

pytestmark = pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed")

# The paper's kind of model, on another one's pairs.
CHAIN = "qwen25vl7b=lr1e-3_r8_a16_bs2_freeze_r16-r8=lr1e-3_r8_a8_bs1_toys"
R16_R8 = CHAIN.rsplit("=", 1)[0]
R16 = R16_R8.removesuffix("-r8")
CLIPS = 4  # of each toy video, two seconds each: short rows train fast
# A toy video then is 8 frames, which this limit scales to 56 x 56 pixels: 4 visual tokens for each
# two of them.
TOTAL_PIXELS = 4 * 112 * 56
VIDEO_TOKENS = 4 * 4
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
QUICK = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SETTINGS = {
    "DEVICE": "cpu",
    "WORKERS": "0",
    "LOGGING_STEPS": "1",
    "SAVE_STEPS": "1",
    "REPORT_TO": "none",
    "VIDEO_TOTAL_PIXELS": str(TOTAL_PIXELS),
    **QUICK,
}


def train(*words, settings, program="run.sh", **kwargs):
    """Run a script of train_scripts/ to its end."""
    return subprocess.run(
        ["bash", REPOSITORY / "train_scripts" / program, *words],
        env={**os.environ, "PYTHON": sys.executable, "PATH": PATH, **settings},
        capture_output=True, encoding="utf-8", timeout=300, **kwargs,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Toy videos, and rows of them: r16's, r8's, held-out ones of r8, and a data set `toys`."""
    folder = tmp_path_factory.mktemp("world")
    pairs = {16: [], 8: []}
    for video in make_world(videos=2, seed=0, out=folder, workers=1, events=(CLIPS, CLIPS)):
        path = str(folder / "video" / video["video_name"])
        captions = [shot["caption"] for shot in video["shots"] if not shot["blank"]]

        def narration(config, captions=captions, path=path):
            return " ".join(captions[index] for index in select(config, CLIPS, 0, path).indices)

        for magnitude, rows in pairs.items():
            for noise in ("drop", "reverse", "shuffle"):
                rejected = narration(Config(noise, magnitude))
                chosen = narration(Config("none", 1))
                rows.append(swift_row(QUESTIONS[0], chosen, rejected, path))
    files = {
        "qwen2vl7b_i0_r16": pairs[16][:4],
        "qwen2vl7b_i0_r8": pairs[8],
        "qwen2vl7b_i0_r8_val": pairs[8][:2],
        "toys": [{key: row[key] for key in ("messages", "videos")} for row in pairs[8][::3]],
    }
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def qwen(tiny):
    """A Qwen2.5-VL of 10 million random weights."""
    return tiny("qwen25vl", compact=False)


class Chain:
    """The chain, killed in the middle of r8, then called again twice."""

    def __init__(self, folder, world, qwen, warm_swift):
        self.base = qwen
        self.outputs = folder / "exp" / "toy" / "outputs"
        self.settings = {
            **SETTINGS,
            "MODEL": str(qwen),
            "DATA_MODEL": "qwen2vl7b",
            "DATA_DIR": str(world),
            "EXP_DIR": str(folder / "exp"),
            "GROUP": "toy",
            "PATH": f"{warm_swift}:{PATH}",
        }
        with open(folder / "killed.log", "w") as log:
            killed = subprocess.Popen(
                ["bash", REPOSITORY / "train_scripts" / "run.sh", CHAIN],
                env={**os.environ, "PYTHON": sys.executable, **self.settings},
                stdout=log, stderr=log,
            )  # fmt: skip
            self.kill_at(self.outputs / R16_R8, killed)
        self.killed_log = (folder / "killed.log").read_text()
        self.at_kill = find_state(self.outputs / R16_R8)
        self.again = train(CHAIN, settings=self.settings, cwd=folder)
        self.before = self.files()
        self.third = train(CHAIN, settings=self.settings, cwd=folder)

    def kill_at(self, stage, run):
        """SIGKILL everything once the stage has a whole checkpoint."""
        while all(checkpoint.finished for checkpoint in checkpoints(stage)):
            assert run.poll() is None, "it ended before the kill"
            time.sleep(0.02)
        groups = {os.getpgid(child.pid) for child in psutil.Process(run.pid).children()}
        run.kill()
        for group in groups - {os.getpgrp()}:
            os.killpg(group, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL

    def files(self):
        return {
            str(path): path.stat().st_mtime_ns
            for path in self.outputs.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    def weights(self, name):
        from safetensors.torch import load_file

        state = find_state(self.outputs / name)
        assert state.kind == "merged"
        return load_file(state.path / "model.safetensors")

    def log(self, name):
        lines = [
            json.loads(line)
            for run in version_folders(self.outputs / name)
            for line in (run / "logging.jsonl").read_text().splitlines()
        ]
        return [line for line in lines if "global_step/max_steps" in line]


@pytest.fixture(scope="module")
def chain(tmp_path_factory, world, qwen, warm_swift):
    chain = Chain(tmp_path_factory.mktemp("chain"), world, qwen, warm_swift)
    assert chain.again.returncode == 0, chain.again.stdout[-3000:] + chain.again.stderr[-3000:]
    return chain


def test_every_stage_ends_in_a_merged_model(chain):
    stages = [stage.name for stage in parse(CHAIN).stages]
    assert sorted(path.name for path in chain.outputs.iterdir()) == sorted(stages)
    for name in stages:
        merged = find_state(chain.outputs / name).path
        assert re.fullmatch(
            r"v\d+-\d{8}-\d{6}/checkpoint-\d+-merged", str(merged.relative_to(chain.outputs / name))
        )
        assert not list(merged.parent.glob("*-merging"))
    assert chain.again.stdout.splitlines()[-1] == f"done: {find_state(chain.outputs / CHAIN).path}"


def test_a_video_becomes_visual_tokens(chain):
    seen = re.findall(r"<\|vision_start\|>\[151656 \* (\d+)\]<\|vision_end\|>", chain.killed_log)
    assert seen and set(seen) == {str(VIDEO_TOKENS)}


def test_weights_change_in_every_stage(chain):
    from safetensors.torch import load_file

    before = load_file(chain.base / "model.safetensors")
    for name in (R16, R16_R8, CHAIN):
        after = chain.weights(name)
        assert after.keys() == before.keys()
        changed = {key for key in after if not after[key].equal(before[key])}
        text = {key for key in after if ".layers." in key and key.endswith("_proj.weight")}
        assert text <= changed
        seeing = {key for key in changed if key.startswith("visual.")}
        # The DPO stages freeze the vision tower, fine-tuning does not.
        assert bool(seeing) == (name == CHAIN), sorted(seeing)
        before = after


def test_a_kill_in_the_middle_of_a_level_resumes(chain):
    assert chain.at_kill.kind == "partial"
    step = int(chain.at_kill.path.name.removeprefix("checkpoint-"))
    assert f"goes on from {chain.at_kill.path}" in chain.again.stdout
    _, second = version_folders(chain.outputs / R16_R8)
    entry = json.loads((second / "logging.jsonl").read_text().splitlines()[0])
    assert entry["global_step/max_steps"] == f"{step + 1}/3"
    # The level before it was not done again.
    assert chain.again.stdout.count("finished: ") == 1
    assert len(version_folders(chain.outputs / R16)) == 1


def test_a_second_call_does_nothing(chain):
    assert chain.third.returncode == 0
    assert chain.third.stdout.count("finished: ") == 3
    assert "swift " not in chain.third.stdout.split("==", 1)[1]
    assert chain.files() == chain.before


def test_the_loss_is_the_papers(chain):
    # DPO of a model that has not moved yet is log 2; the paper's ms-swift added the loss of
    # fine-tuning on the chosen answer once.
    first = chain.log(R16)[0]
    assert first["loss"] == pytest.approx(math.log(2) + first["nll_loss"], rel=1e-4)


def test_held_out_pairs_are_evaluated_where_there_are_some(chain):
    assert [line["eval_rewards/accuracies"] for line in chain.log(R16_R8) if "eval_loss" in line]
    assert not [line for line in chain.log(R16) if "eval_loss" in line]


def test_what_was_run_is_written_beside_it(chain):
    noted = json.loads((chain.outputs / R16_R8 / "stage.json").read_text())
    assert noted["rows"] == {**noted["rows"], "file": "qwen2vl7b_i0_r8.json", "rows": 6, "kept": 6}
    assert noted["made_with"]["settings"]["RPO_ALPHA"] == "1.0"
    assert len(noted["runs"]) == 2
    run = noted["runs"][1]
    assert run["with"]["ms-swift"] == "4.6.0" and run["with"]["torch"]
    place = run["command"].index("--resume_from_checkpoint")
    assert run["command"][place + 1] == str(chain.at_kill.path)


def test_the_report_reads_swifts_logs(chain):
    lines = [table_row(read_log(chain.outputs / name)) for name in (R16, R16_R8, CHAIN)]
    assert [(line["stage"], line["state"], line["steps"], line["of"]) for line in lines] == [
        ("r16", "merged", "2", "2"),
        ("r8", "merged", "3", "3"),
        ("toys", "merged", "2", "2"),
    ]
    assert lines[1]["held_out_accuracy"] and not lines[0]["held_out_accuracy"]
    assert float(lines[2]["loss_first"]) > 0 and not lines[2]["accuracy"]
    steps = [step for step, _ in read_log(chain.outputs / R16_R8).series["loss"]]
    assert steps == [1, 2, 3]


ENCODE = """
import json, sys
from swift.arguments import RLHFArguments
from swift.model import get_processor
from swift.template import get_template
for kind, row in json.loads(sys.argv[2]):
    template = get_template(get_processor(sys.argv[1], model_type=kind), template_type=kind)
    template.set_mode("rlhf")
    encoded = template.encode(row)
    sides = [encoded["chosen_input_ids"], encoded["rejected_input_ids"]]
    print("row", max(map(len, sides)), [list(side).count(151656) for side in sides])
"""


def test_the_papers_pixel_budget_is_honoured(warm_swift, qwen, make_video, tmp_path):
    # 100 s of 640 x 480 at one frame a second, two frames a token: 15 million pixels, of which the
    # paper takes 9.
    long = make_video(tmp_path / "long.mp4", [("beach", 50), ("night", 50)], (640, 480), rate=1)
    short = make_video(tmp_path / "short.mp4", [("fire", 9)], (320, 240), rate=1)
    rows = [
        swift_row("What happens?", "First the sea, then the night. " * 3, "The night.", str(long)),
        swift_row(
            QUESTIONS[1], "A fire.", "A fire burns, and burns - 日本.\n\nSo it does", str(short)
        ),
    ]
    pairs = [("qwen2_5_vl", rows[0]), ("qwen2_5_vl", rows[1]), ("qwen2_vl", rows[1])]
    (tmp_path / "encode.py").write_text(ENCODE)
    settings = {"BASE": "qwen25vl7b", "ROWS": "rows.json", "OUTPUT_DIR": "out", "DEVICE": "cpu"}
    done = subprocess.run(
        [warm_swift / "swift", tmp_path / "encode.py", qwen, json.dumps(pairs)],
        env={**os.environ, **Call("dpo", {**os.environ, **settings}).exported},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    lengths = re.findall(r"^row (\d+) \[(\d+), (\d+)\]", done.stdout, re.MULTILINE)
    assert len(lengths) == 3, done.stderr[-3000:]
    for (kind, row), (length, chosen, rejected) in zip(pairs, lengths, strict=True):
        assert chosen == rejected
        assert RowLengths(kind, qwen / "tokenizer.json", Budget()).count(row) == int(length)
    # A visual token is 28 x 28 pixels.
    assert 0.9 * 9_000_000 < int(lengths[0][1]) * 784 <= 9_000_000


def test_a_training_sees_every_row_whatever_its_codec(warm_swift, qwen, make_video, tmp_path):
    videos = [str(make_video(tmp_path / name, **how)) for name, how in CODECS.items()]
    rows = [swift_row(QUESTIONS[0], "Sea, then fire.", "Fire, then sea.", path) for path in videos]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    settings = {
        **SETTINGS,
        **{"MODEL": str(qwen), "MODEL_TYPE": "qwen2_5_vl", "GLOBAL_BATCH": "8"},
        **{"ROWS": str(tmp_path / "rows.json"), "OUTPUT_DIR": str(tmp_path / "out")},
        "PLUGIN": str(REPOSITORY / "tests" / "training" / "logged_reader.py"),
        "READ_LOG": str(tmp_path / "read"),
        "PATH": f"{warm_swift}:{PATH}",
        **arms()["one_schedule"].settings,  # whose levels follow each other in one training
    }
    done = train(settings=settings, program="dpo.sh")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "randomly selected" not in done.stdout + done.stderr
    read = (tmp_path / "read").read_text().splitlines()
    assert list(dict.fromkeys(read)) == videos  # in the order of the file
    # Both answers of a pair take one reading; swift prints one row before it begins.
    assert len(read) <= len(videos) + 1
    assert '"1/1"' in next((tmp_path / "out").rglob("logging.jsonl")).read_text()


def test_simpo_compares_mean_log_p_and_needs_no_other_model(world, warm_swift, tmp_path):
    settings = {
        **{**SETTINGS, "PATH": f"{warm_swift}:{PATH}"},
        **{"BASE": "toyvl", "GLOBAL_BATCH": "1", "SIMPO_GAMMA": "0.4"},
        **{"ROWS": str(world / "qwen2vl7b_i0_r8.json"), "OUTPUT_DIR": str(tmp_path)},
    }
    done = train(program="simpo.sh", settings=settings)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    first = json.loads(next(tmp_path.rglob("logging.jsonl")).read_text().splitlines()[0])
    chosen, rejected = first["logps/chosen"], first["logps/rejected"]
    assert -5 < chosen < 0  # of a token, not of the whole answer
    preference = math.log1p(math.exp(-(2.0 * (chosen - rejected) - 0.4)))
    assert first["loss"] == pytest.approx(preference - chosen, abs=2e-3)


def test_grpo_rewards_answers_that_tell_the_clips_in_order(world, warm_swift, tmp_path):
    rows = json.loads((world / "toys.json").read_text())
    for row in rows:
        text = row["messages"][1]["content"]
        row["clip_captions"] = [part + " ." for part in text.split(" .")[:-1]]
        row["reversed"] = " ".join(row["clip_captions"][::-1])
    (tmp_path / "toyvl_i0_order.json").write_text(json.dumps(rows))
    settings = {
        **{**SETTINGS, "PATH": f"{warm_swift}:{PATH}", "BASE": "toyvl", "ORDER_MATCH": "100"},
        "VIDEO_TOTAL_PIXELS": "784",  # toyvl sees nothing in larger frames
        **{"GLOBAL_BATCH": "4", "PER_DEVICE_BATCH": "4", "NUM_GENERATIONS": "4"},
        **{"ROWS": str(tmp_path / "toyvl_i0_order.json"), "OUTPUT_DIR": str(tmp_path / "out")},
        **{"MAX_COMPLETION_LENGTH": "40", "EXTRA_FLAGS": "--max_steps 1"},
    }
    done = train(program="grpo.sh", settings=settings)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    line = next((tmp_path / "out").rglob("completions.jsonl")).read_text().splitlines()[0]
    step = json.loads(line)
    assert len(step["completion"]) == 4
    # One video was asked about, and the log does not say which.
    expected = [
        [agreement(text, row["clip_captions"], 100) for text in step["completion"]] for row in rows
    ]
    assert step["OrderReward"] in [pytest.approx(rewards) for rewards in expected]
    assert max(step["OrderReward"]) > 0
    # Of the reversed video the clips are told in the reverse order: all pairs count.
    assert step["ReverseReward"] == pytest.approx(step["OrderReward"])
    first = json.loads(next((tmp_path / "out").rglob("logging.jsonl")).read_text().splitlines()[0])
    rewards = step["OrderReward"] + step["ReverseReward"]
    assert first["reward"] == pytest.approx(sum(rewards) / 4, abs=1e-4)


def test_two_processes_of_toyvl_learn_to_prefer_the_chosen_answers(
    tmp_path, warm_swift, run_script
):
    # By hand. toyvl's small vocabulary has no 151656: without its own template the videos would be
    # left out.
    stories = make_world(videos=4, seed=5, out=tmp_path, workers=1, events=(4, 6))
    rows = []
    for story in stories:
        video = str(tmp_path / "video" / story["video_name"])
        texts = [event["text"] for event in story["events"]]
        rows += [
            swift_row(question, narrate(texts), narrate(texts[::-1]), video)
            for question in QUESTIONS[:4]
        ]
    (tmp_path / "toyvl_i0_r16.json").write_text(json.dumps(rows))
    folder = tmp_path / "toyvl=lr3e-3_r8_a16_bs4_freeze_r16"
    chain = {"DRY_RUN": "1", "DEVICE": "cpu", "DATA_DIR": str(tmp_path), "EXP_DIR": str(tmp_path)}
    shown = run_script("-m", "tools.training.chain", folder.name, env=chain).stdout
    assert "16 rows, all within" in shown and "--gradient_checkpointing false" in shown
    by_hand = {
        **{**QUICK, "PATH": f"{warm_swift}:{PATH}"},
        **{"BASE": "toyvl", "DEVICE": "cpu", "GLOBAL_BATCH": "4", "EPOCHS": "6"},
    }
    dpo = {
        "ROWS": str(tmp_path / "toyvl_i0_r16.json"),
        "OUTPUT_DIR": str(folder),
        "LEARNING_RATE": "3e-3",
        "LORA_RANK": "8",
        "LORA_ALPHA": "16",
        "PER_DEVICE_BATCH": "2",
        "NPROC_PER_NODE": "2",
    }
    done = train(program="dpo.sh", settings={**by_hand, **dpo})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "--nproc_per_node 2" in done.stdout
    # A story of 4 or 6 shots of two seconds, two frames a token.
    tokenizer = REPOSITORY / "inference" / "toyvl" / "tokenizer.json"
    video_pad = Tokenizer.from_file(str(tokenizer)).token_to_id("<|video_pad|>")
    assert re.search(rf"\[{video_pad} \* [46]\]", done.stdout + done.stderr)
    # Processes that each train alone would each log every step.
    assert len(re.findall("'loss': ", done.stdout)) == 24
    log = read_log(folder)
    assert log.max_steps == 24  # 16 pairs, a global batch of 4, 6 epochs
    # Before the first steps take effect no side has gained; at the end the chosen one has, in the
    # whole last epoch.
    accuracies = log.numbers("rewards/accuracies")
    assert accuracies[0] == 0 and sum(accuracies[-4:]) / 4 > 0.9
    assert log.numbers("loss")[-1] < log.numbers("loss")[0]
    assert list(folder.glob("v0-*/images/*.png"))  # swift draws what TensorBoard would show
    # No system turn: <|im_start|> user <|vision_start|>, 4 x <|video_pad|>, <|vision_end|>, a
    # question of one token, <|im_end|> <|im_start|> assistant; the answer's words, <|im_end|>.
    words = len(narrate([event["text"] for event in stories[0]["events"]]).split())
    budget = Budget(video_min_pixels=784, video_total_pixels=784)
    assert RowLengths("toyvl", tokenizer, budget).count(rows[0]) == 3 + 4 + 5 + words + 1
    merge = {
        "CHECKPOINT": str(find_state(folder).path),
        "OUTPUT_DIR": str(tmp_path / "merged"),
    }
    done = train(program="merge.sh", settings={**by_hand, **merge})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "merged" / "model.safetensors").exists()
