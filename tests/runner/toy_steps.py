"""Steps that do what their records say, on the real runner, as a script: the subject of its tests.

    python tests/runner/toy_steps.py mine 2 --data_root DIR --factor 3

A record of `numbers` holds a number, and in `do` what its processing does besides: sleep, fail,
filter, die... Steps: act (multiplies by --factor), pass_on (one after it), spread (three tables).
"""

import os
import signal
import sys
import time
from dataclasses import dataclass

from tools.cli import add_settings, run_script, script_parser, settings_from
from tools.errors import Filtered, UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset


@dataclass
class Act(Step):
    dataset: Dataset
    factor: int
    version: str
    batch_size: int = 1
    setup_does: str = "nothing"

    name = "act"

    def __post_init__(self):
        self.reads = self.dataset.table("numbers")
        self.writes = (self.dataset.table("act"),)

    def params(self):
        return {"factor": self.factor, "sampling": {"top_k": 1, "twice": 2 * self.factor}}

    def versions(self):
        return {"av": self.version}

    def setup(self, device, threads):
        self.device = device
        os.write(1, f"set up {os.getpid()}\n".encode())
        if self.setup_does == "die":
            os._exit(7)
        if self.setup_does == "die_once" and self.first_time("setup"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.setup_does == "mistake":
            raise UserError("the weights are not here")
        if self.setup_does == "sleep":
            time.sleep(60)

    def first_time(self, what):
        """Whether this is the first call with `what`, over all processes."""
        try:
            open(self.dataset.root / f"once_{what}", "x").close()
        except FileExistsError:
            return False
        return True

    def process(self, record):
        new = {**record, "number": record["number"] * self.factor}
        for deed, value in record.get("do", {}).items():
            if deed == "sleep":
                time.sleep(value)
            elif deed == "fail" or (deed == "fail_once" and self.first_time(record["video_id"])):
                raise ValueError(value)
            elif deed == "filter":
                raise Filtered(value)
            elif deed == "die" and any(
                self.first_time((record["video_id"], k)) for k in range(value)
            ):
                os.kill(os.getpid(), signal.SIGKILL)
            elif deed == "native":  # holds the interpreter's lock, so that no thread can run
                sum(range(10**12))
            elif deed == "sign":
                new["pid"] = os.getpid()
            elif deed == "show_device":
                new["device"] = [self.device, os.environ.get("CUDA_VISIBLE_DEVICES")]
            elif deed == "look_around":
                new["seen"] = look_around()
        return new


def look_around():
    """How this worker computes."""
    import cv2
    import torch

    return {
        "deaf_to": sorted(signal.Signals(n).name for n in signal.pthread_sigmask(0, ())),
        "spawned": "--multiprocessing-fork" in sys.orig_argv,
        "variables": [os.environ[f"{kind}_NUM_THREADS"] for kind in ("OMP", "MKL", "OPENBLAS")],
        "opencv": cv2.getNumThreads(),
        "torch": torch.get_num_threads(),
    }


@dataclass
class PassOn(Step):
    dataset: Dataset
    suffix: str

    name = "pass_on"

    def __post_init__(self):
        self.reads = self.dataset.table("act")
        self.writes = (self.dataset.table("pass_on"),)

    def params(self):
        return {"suffix": self.suffix}

    def process(self, record):
        return {**record, "passed": f"{record['number']}{self.suffix}"}


@dataclass
class Spread(Step):
    dataset: Dataset

    name = "spread"
    batch_size = 2

    def __post_init__(self):
        self.reads = self.dataset.table("pass_on")
        self.writes = tuple(self.dataset.table(name) for name in ("spread_a", "spread_b"))

    def process_batch(self, records, wanted):
        if any(record["number"] < 0 for record in records):
            raise ArithmeticError("a negative number in the batch")
        for position, record in enumerate(records):
            row = {"video_id": record["video_id"], "number": record["number"]}
            odd = Filtered("odd") if record["number"] % 2 else row
            yield position, {"spread_a": row, "spread_b": odd}


def main(argv=None):
    parser = script_parser(__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--factor", type=int, default=2)
    parser.add_argument("--suffix", default="!")
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--setup", default="nothing")
    parser.add_argument("--time_limit", type=float)
    parser.add_argument("--steps", nargs="+", default=["act"])
    add_settings(parser, Options)
    args = parser.parse_args(argv)

    from tools.runner.run import run

    dataset = open_dataset(args.dataset, args.data_root, may_be_new=True)
    steps = [
        Act(dataset, args.factor, args.version, args.batch_size, args.setup),
        PassOn(dataset, args.suffix),
        Spread(dataset),
    ]
    steps[0].time_limit = args.time_limit
    run([step for step in steps if step.name in args.steps], dataset, settings_from(args, Options))


if __name__ == "__main__":
    run_script(main)
