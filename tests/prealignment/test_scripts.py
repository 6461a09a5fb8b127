"""The scripts of TOPA: their hyper-parameters are the method's, and their commands are real."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "train_scripts"


def command_of(script, *arguments, **variables):
    """What a script would run, as words."""
    env = {**os.environ, "DRY_RUN": "1", **variables}
    path = SCRIPTS / f"topa_{script}.sh"
    words = ["bash", path, *arguments]
    return shlex.split(subprocess.run(words, env=env, capture_output=True, text=True).stdout)


def values_of(words):
    """flag -> value."""
    return {words[i][2:]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "batch", "lr", "epochs", "warmup", "length"),
    [
        ("llama2_7b", (), {}, 288, 5.63e-3, 20, 1, 150),
        ("llama2_13b", (), {}, 128, 4.0e-3, 20, 1, 150),
        ("llama3_8b", (), {}, 448, 8.75e-3, 20, 1, 150),
        ("finetune", ("nextqa",), {"SIZE": "llama2_7b"}, 320, 1.25e-2, 5, 1, 128),
        ("finetune", ("star",), {"SIZE": "llama3_8b"}, 320, 1.25e-2, 5, 1, 128),
        ("finetune", ("tvqa",), {"SIZE": "llama2_7b"}, 320, 6.25e-3, 5, 1, 128),
        ("finetune", ("star",), {"SIZE": "llama2_13b"}, 384, 7.5e-3, 5, 1, 128),
        ("finetune", ("nextqa",), {"FROM": "nothing"}, 320, 1.25e-2, 10, 2, 128),
        ("finetune", ("star",), {"FROM": "nothing"}, 320, 2.5e-2, 10, 2, 128),
        (
            *("finetune", ("tvqa",), {"FROM": "nothing", "SIZE": "llama3_8b"}),
            *(320, 1.25e-2, 10, 2, 128),
        ),
        (
            *("finetune", ("nextqa",), {"FROM": "nothing", "SIZE": "llama3_8b"}),
            *(320, 2.5e-2, 10, 2, 128),
        ),
        (
            *("finetune", ("nextqa",), {"FROM": "nothing", "SIZE": "llama2_13b"}),
            *(192, 7.5e-3, 10, 4, 128),
        ),
        (
            *("finetune", ("star",), {"FROM": "nothing", "SIZE": "llama2_13b"}),
            *(192, 1.5e-2, 10, 2, 128),
        ),
    ],
)
def test_the_hyper_parameters_of_the_paper(
    script, arguments, variables, batch, lr, epochs, warmup, length
):
    values = values_of(command_of(script, *arguments, NPROC_PER_NODE="4", **variables))
    assert int(values["effective_batch"]) == batch
    assert batch % (4 * int(values["batch_size"])) == 0
    assert float(values["lr"]) == lr
    assert (float(values["epochs"]), float(values["warmup_epochs"])) == (epochs, warmup)
    assert int(values["max_length"]) == length
    assert ("init" in values) == (script == "finetune" and "FROM" not in variables)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        *((name, ()) for name in ("llama2_7b", "llama2_13b", "llama3_8b")),
        ("finetune", ("star", "--labels", "0.1")),
        ("zeroshot_egoschema", ()),
        ("zeroshot_nextqa", ("--permute", "2")),
        ("zeroshot_star", ()),
        ("zeroshot_tvqa", ()),
        ("zeroshot_mvbench", ()),
        ("caption", ("msrvtt",)),
        ("caption", ("vatex",)),
    ],
)
def test_a_script_runs_a_command_that_takes_its_flags(script, arguments, tmp_path, run_script):
    words = command_of(script, *arguments, DATA_ROOT=str(tmp_path), EXP=str(tmp_path))
    assert words[0] == "python"
    result = run_script(*words[1:])
    assert result.returncode == 2
    assert "error: no dataset" in result.stderr
