"""The shell scripts that hold swift's flags: their settings, and the command that each makes.

train_scripts/dpo.sh, sft.sh and merge.sh each call swift once. Their settings have their defaults
in lines `: "${NAME=default}"`, most of them in settings.sh.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError
from tools.store.dataset import REPOSITORY

FOLDER = REPOSITORY / "train_scripts"
SETTING = re.compile(r'^: "\$\{(\w+):?[=?]', re.MULTILINE)
RUNNING = "# ---- Running"  # settings above this line of settings.sh shape the weights
# What a command of swift reads from the environment, besides its flags.
EXPORTED = (
    "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH", "FPS", "FPS_MAX_FRAMES",
    "VIDEO_MIN_PIXELS", "VIDEO_TOTAL_PIXELS", "MODEL_SEQ_LEN", "USE_HF", "NPROC_PER_NODE", "NNODES",
    "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
# Sources a script with a function in swift's place; prints the words that this is called with, an
# empty one, and all variables.
ASK = r"""
set -a
swift() { printf '%s\0' swift "$@"; }
source "$0"
printf '\0' && env -0
"""


@dataclass(frozen=True)
class Call:
    """A script with an environment to run it in.

    Attributes:
        words: swift's command.
        shaping, running: values of the settings that shape the weights, and of the others.
        exported: what swift reads from the environment.
    """

    script: Path
    environment: dict[str, str]
    words: list[str]
    shaping: dict[str, str]
    running: dict[str, str]
    exported: dict[str, str]

    def __str__(self) -> str:
        """The command as a shell reads it."""
        return pasteable(self.words)


def read_call(work: str, environment: dict[str, str]) -> Call:
    """What `work`, which is dpo, sft or merge, does in an environment; nothing is run.

    Raises:
        UserError: the script refuses it.
    """
    script = FOLDER / f"{work}.sh"
    shared, _, later = (FOLDER / "settings.sh").read_text().partition(RUNNING)
    shaping = [name for name in SETTING.findall(shared + script.read_text()) if name != "MODEL"]
    running = SETTING.findall(later)
    done = subprocess.run(
        ["bash", "-c", ASK, script], env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        raise UserError(re.sub(r"^.*: line \d+: ", "", done.stderr.strip().splitlines()[-1]))
    words, _, variables = done.stdout.rpartition("\0\0")
    values = dict(line.partition("=")[::2] for line in variables.split("\0"))
    return Call(
        script,
        environment,
        words.split("\0"),
        {name: values[name] for name in shaping},
        {name: values[name] for name in running},
        {name: values[name] for name in EXPORTED if name in values},
    )


def pasteable(words: list[str]) -> str:
    """A command as a shell reads it, a flag a line; a path that is not known yet stays readable."""
    return "".join(
        (" \\\n    " if word.startswith("--") else " ")
        + (f'"{word}"' if "<k>" in word else shlex.quote(word))
        for word in words
    ).strip()
