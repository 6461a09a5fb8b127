"""Tiny language models, and batches of text with videos in it."""

import pytest
import torch

from inference.tiny import llama
from prealignment.config import AlignmentConfig
from prealignment.model import open_llm

WIDTH = 16  # of a vector


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    """The folder of a tiny language model; read it only."""
    words = ["what", "does", "the", "red", "blue", "circle", "square", "do", "moves", "left"]
    return llama.build(tmp_path_factory.mktemp("llama") / "tiny", words=words)


@pytest.fixture
def open_tiny(tiny_llama):
    """(**fields of AlignmentConfig) -> a new model; `gates` gives the gates random values."""

    def make(*, gates=False, folder=tiny_llama, **fields):
        model = open_llm(folder, AlignmentConfig(WIDTH, **{"prefix_length": 5, **fields}))
        if gates:
            torch.manual_seed(1)
            for name, parameter in model.added_parameters():
                if "gate" in name:
                    parameter.data.normal_()
        return model

    return make
