"""Train the grounding bridge or the answerer, by an experiment's name:

    python -m grounding.train experiment=VideoTGB_TG_blip2flant5xl_videoinstruct
    python -m grounding.train experiment=VideoTGB_blip2flant5xl_ivinstruct data.nframe=4
    python -m grounding.train experiment=LSTP_instructblipvicuna7b_ivtinstruct data.batch_size=2
    torchrun --nproc_per_node 4 -m grounding.train experiment=VideoTGB_blip2flant5xl_videoinstruct

A recipe is a file in grounding/experiments/; grounding/training/experiment.py explains every key.
tiny=true runs it on a CPU with a tiny random model. The same command goes on after an interruption,
from the last checkpoint. The output folder holds what was trained: bridge.safetensors and its
tokenizer, or answerer.safetensors and answerer.json.
"""

import os
import sys
from collections.abc import Sequence

from grounding.training.experiment import Experiment, compose, defaults, names
from tools.cli import run_script


def parse_arguments(words: Sequence[str]) -> Experiment:
    """The experiment that a command line names."""
    return compose(words)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what the command line names."""
    words = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(words):
        print(__doc__, "Experiments:", *names(), "", "Keys with their defaults:", sep="\n")
        print(defaults())
        return
    experiment = parse_arguments(words)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # they run in processes of the loader

    from grounding.training.trainer import train

    print(train(experiment))


if __name__ == "__main__":
    run_script(main)
