"""lmms-eval's command line, with frames taken of a video as the environment says.

It is a program for lmms-eval's own environment, of which nothing else of the project is a part;
evaluation/public/lmms.py starts it. FPS and FPS_MAX_FRAMES are the names that training knows them
by. They are constants
of qwen-vl-utils, which reads the videos of the Qwen families: lmms-eval itself has no
flag for Qwen2-VL's frames a second, and forgets Qwen2.5-VL's most frames where it has one.
"""

import os
import runpy
import threading


def end_with_parent() -> None:
    """Leave when the other end of standard input is gone: nobody would read the scores."""
    while os.read(0, 1):  # Not sys.stdin: its lock would be held when the interpreter ends.
        pass
    os._exit(1)


def main() -> None:
    """Set the constants, and become lmms-eval."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    if os.environ["FPS"]:
        from qwen_vl_utils import vision_process

        vision_process.FPS = float(os.environ["FPS"])
        vision_process.FPS_MAX_FRAMES = int(os.environ["FPS_MAX_FRAMES"])
    runpy.run_module("lmms_eval", run_name="__main__")


if __name__ == "__main__":
    main()
