"""The shell scripts that hold swift's flags: their settings, and the command that each makes.

train_scripts/dpo.sh, simpo.sh, sft.sh, grpo.sh and merge.sh each call swift once. Their settings
have their defaults in lines `: "${NAME=default}"`, most of them in settings.sh.
"""

import re
import shlex
import subprocess

from tools.errors import UserError
from tools.store.dataset import REPOSITORY

FOLDER = REPOSITORY / "train_scripts"
SETTING = re.compile(r'^: "\$\{(?!MODEL:)(\w+):?[=?]', re.MULTILINE)  # MODEL is each stage's own
RUNNING = "# ---- Running"  # settings above this line of settings.sh shape the weights
# What a command of swift reads from the environment, besides its flags.
EXPORTED = (
    "ACCELERATE_USE_CPU", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH", "FPS",
    "FPS_MAX_FRAMES", "VIDEO_MIN_PIXELS", "VIDEO_TOTAL_PIXELS", "MODEL_SEQ_LEN", "USE_HF",
    "NPROC_PER_NODE", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
    "ORDER_MATCH",
)  # fmt: skip
# Sources a script with a function in swift's place; prints the words that this is called with, an
# empty one, and all variables.
ASK = r"""
set -a
swift() { printf '%s\0' swift "$@"; }
source "$0"
printf '\0' && env -0
"""


class Call:
    """A script of train_scripts/ with an environment to run it in; nothing is run yet. Raises
    UserError if the script refuses the environment.

    Args:
        work: dpo, simpo, sft, grpo or merge.

    Attributes:
        words: swift's command.
        shaping, running: values of the settings that shape the weights, and of the others.
        exported: what swift reads from the environment.
    """

    def __init__(self, work: str, environment: dict[str, str]) -> None:
        self.script, self.environment = FOLDER / f"{work}.sh", environment
        done = subprocess.run(
            ["bash", "-c", ASK, self.script], env=environment, capture_output=True, encoding="utf-8"
        )
        if done.returncode:
            raise UserError(re.sub(r"^.*: line \d+: ", "", done.stderr.strip().split("\n")[-1]))
        words, _, variables = done.stdout.rpartition("\0\0")
        self.words = words.split("\0")
        self.values = dict(line.partition("=")[::2] for line in variables.split("\0"))
        shaping, _, running = (FOLDER / "settings.sh").read_text().partition(RUNNING)
        self.shaping, self.running = (
            {name: self.values[name] for name in SETTING.findall(text)}
            for text in (shaping + self.script.read_text(), running)
        )
        self.exported = {name: self.values[name] for name in EXPORTED if name in self.values}


def pasteable(words: list[str]) -> str:
    """A command as a shell reads it, a flag a line; a path that is not known yet stays readable."""
    return "".join(
        (" \\\n    " if word.startswith("--") else " ")
        + (f'"{word}"' if "<k>" in word else shlex.quote(word))
        for word in words
    ).strip()
