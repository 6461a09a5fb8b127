"""The scripts of CaTeR: their commands are real, in the order in which one needs the other."""

import importlib
import os
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "train_scripts"
PREPARED = "prompts prompts features teach"


def commands_of(script, *arguments, **variables):
    """What a script would run, as words: each from the module on."""
    env = {**os.environ, "DRY_RUN": "1", **variables}
    path = SCRIPTS / f"cater_{script}.sh"
    words = ["bash", path, *arguments]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    return [shlex.split(line)[2:] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "modules"),
    [
        ("suite", ("msrvtt",), {"D_MODEL": "256", "EPOCHS": "2"}, f"{PREPARED} suite"),
        ("msrvtt", ("DIR",), {"LIMIT": "2000"}, f"read read read {PREPARED} suite"),
        ("smoke", (), {}, f"toyworld splits checkpoints {PREPARED} train evaluate"),
    ],
)
def test_a_script_runs_commands_that_take_its_flags(
    script, arguments, variables, modules, tmp_path, check_parsing
):
    commands = commands_of(script, *arguments, DATA_ROOT=str(tmp_path), **variables)
    assert [words[0].rpartition(".")[2] for words in commands] == modules.split()
    for words in commands:
        check_parsing(words)


def test_the_teachers_judge_the_training_questions():
    commands = commands_of("suite", "tvqa", TEACHERS="videollava flamingo", WORLD_SIZE="8")
    taught = [words[1:5] for words in commands if words[0] == "distillation.teach"]
    assert taught == [["tvqa", "8", "--teacher_name", name] for name in ("videollava", "flamingo")]


@pytest.fixture
def check_parsing(monkeypatch):
    """Fail where a module's parser does not take the words of a command."""
    import argparse

    class Parsed(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(*args):
        parse(*args)
        raise Parsed

    def check(words):
        module, *arguments = words
        name = module if module != "toyworld" else "toyworld.__main__"
        main = importlib.import_module(name).main
        with monkeypatch.context() as patch, pytest.raises(Parsed):
            patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
            main(arguments)

    return check
