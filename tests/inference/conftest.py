"""Tiny models and a dataset that several files of this folder read: each is made once."""

from functools import cache

import pytest


@pytest.fixture(scope="session")
def loaded_tiny(tiny):
    """(family, compact) -> (processor, model) of a tiny checkpoint, as a user loads them."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    @cache
    def load(family, compact=True):
        folder = tiny(family, compact)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        return AutoProcessor.from_pretrained(folder), model

    return load


@pytest.fixture(scope="session")
def stage_one(tiny_videos, run_script, tmp_path_factory):
    """A data root with the dataset `mine`, three videos through stage 1."""
    root = tmp_path_factory.mktemp("data")
    flags = ["--shot_detector", "adaptive", "--embedder", "color", "--data_root", root]
    run = run_script("preprocess.py", "mine", 1, "--video_dir", tiny_videos, *flags)
    assert run.returncode == 0, run.stderr
    return root
