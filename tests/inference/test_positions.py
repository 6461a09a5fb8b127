"""A guard for positions: a token stands where it stood in training when the model generates it.

Text after a video starts one after the video's largest position, be that of its time, its height or
its width (M-RoPE: Qwen2-VL, arXiv 2409.12191, section 2.1). transformers 5.3, 5.9 and 5.23 leave
time out, so after a video with more time steps than rows and columns text stands elsewhere than the
released weights learned it, and the test of that rule fails: hence the pin in requirements.txt.
"""

import json
import os
import subprocess
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
import torch

QWEN = ("qwen2vl", "qwen25vl")
STEPS, ROWS, COLUMNS = 30, 2, 3  # of 60 frames of 84 x 56 pixels
TWO_FRAMES = {"shortest_edge": 28 * 28 * ROWS * COLUMNS, "longest_edge": 28 * 28 * ROWS * COLUMNS}
NEW_TOKENS = 8

# What ms-swift makes of a row before its trainer gets it, for each (folder, model type).
SWIFT_BATCHES = """
import json, sys
import torch
from swift import get_model_processor, get_template

row, *models = map(json.loads, sys.argv[1:])
batches = []
for folder, model_type in models:
    model, processor = get_model_processor(folder, model_type=model_type, device_map="cpu")
    template = get_template(processor, template_type=model_type)
    template.set_mode("train")
    template.model = model
    batch = template.data_collator([template.encode(row)])
    batches.append({
        name: torch.as_tensor(batch[name]).tolist()
        for name in ("input_ids", "labels", "position_ids", "video_grid_thw", "second_per_grid_ts")
        if name in batch
    })
print(json.dumps(batches))
"""


def encode(processor, *questions):
    """Inputs of one chat for each question, all on one video of STEPS time steps, padded left."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2 * STEPS, 28 * ROWS, 28 * COLUMNS, 3), np.uint8)
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for question in questions
    ]
    return processor(
        text=texts,
        videos=[frames] * len(texts),
        size=TWO_FRAMES,
        fps=1.0,
        padding=True,
        return_tensors="pt",
    )


@contextmanager
def positions_used(model):
    """Collect the (3, batch, tokens) positions by which the language model turns its heads."""
    used = []
    hook = model.model.language_model.rotary_emb.register_forward_pre_hook(
        lambda _, arguments: used.append(arguments[1])
    )
    yield used
    hook.remove()


def generate(model, inputs, new_tokens=NEW_TOKENS):
    """Sequences, and positions and logits with which all but the last token were taken in."""
    with positions_used(model) as used:
        made = model.generate(
            **inputs,
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return made.sequences, torch.cat(used, dim=-1), torch.stack(made.logits, dim=1)


def train(model, inputs, sequences):
    """Positions and logits of a training step's forward: whole sequences, no cache."""
    with positions_used(model) as used:
        made = model(
            **{**inputs, "input_ids": sequences, "attention_mask": torch.ones_like(sequences)},
            labels=sequences,
            use_cache=False,
        )
    return used[0], made.logits.detach()


def check(model, inputs):
    """Training and generation agree on where the tokens are, and so on what they say."""
    sequences, generating, said = generate(model, inputs)
    training, taught = train(model, inputs, sequences[:, :-1])
    assert torch.equal(training, generating)
    torch.testing.assert_close(taught[:, -NEW_TOKENS:], said, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", QWEN)
def test_training_and_generation_agree(name, loaded_tiny):
    processor, model = loaded_tiny(name)
    check(model, encode(processor, " describe the video"))


# The Qwen2.5-VL of 2 positions a second moves 4 with each step, which is 2 frames of a second.
@pytest.mark.parametrize(("name", "last_step"), [("qwen2vl", STEPS - 1), ("qwen25vl", 116)])
def test_text_starts_after_the_video_s_largest_position(name, last_step, loaded_tiny):
    processor, model = loaded_tiny(name)
    inputs = encode(processor, " describe the video")
    _, positions, _ = generate(model, inputs)
    ids = inputs["input_ids"][0].tolist()
    first = ids.index(model.config.video_token_id)
    after = ids.index(model.config.vision_end_token_id)
    assert after - first == STEPS * ROWS * COLUMNS
    assert positions[:, 0, first - 1].tolist() == [first - 1] * 3
    assert positions[:, 0, first].tolist() == [first] * 3
    assert positions[:, 0, after - 1].tolist() == [first + last_step, first + 1, first + 2]
    tail = torch.arange(len(ids) - after + NEW_TOKENS - 1) + first + last_step + 1
    assert torch.equal(positions[:, 0, after:], tail.expand(3, -1))


@pytest.mark.parametrize("name", QWEN)
def test_padding_on_the_left_moves_nothing(name, loaded_tiny):
    processor, model = loaded_tiny(name)
    questions = (" describe the video", " describe the video step by step, in its order, in detail")
    _, together, _ = generate(model, encode(processor, *questions))
    _, alone, _ = generate(model, encode(processor, questions[0]))
    assert together.shape[-1] > alone.shape[-1]
    assert torch.equal(together[:, :1, -alone.shape[-1] :], alone)


def test_the_guard_sees_time_left_out(loaded_tiny, monkeypatch):
    """Text after the last row or column, whatever the time: generation goes on elsewhere."""
    processor, model = loaded_tiny("qwen2vl")
    right = model.model.get_rope_index

    def without_time(input_ids, *grids, **more):
        positions, _ = right(input_ids, *grids, **more)
        after = input_ids[0].tolist().index(model.config.vision_end_token_id)
        positions[..., after:] -= STEPS - max(ROWS, COLUMNS)
        return positions, positions.max().view(1, 1) + 1 - input_ids.shape[1]

    monkeypatch.setattr(model.model, "get_rope_index", without_time)
    with pytest.raises(AssertionError):
        check(model, encode(processor, " describe the video"))


@pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed")
def test_ms_swift_trains_at_the_positions_of_generation(
    warm_swift, tiny, loaded_tiny, make_video, tmp_path
):
    video = make_video(tmp_path / "minute.mp4", [("beach", 60)], rate=1)
    row = {
        "messages": [
            {"role": "user", "content": "<video>Describe the video."},
            {"role": "assistant", "content": " a dog runs through the garden."},
        ],
        "rejected_response": " a garden.",
        "videos": [str(video)],
    }
    models = [(str(tiny("qwen2vl", False)), "qwen2_vl")]
    models += [(str(tiny("qwen25vl", False)), "qwen2_5_vl")]
    (tmp_path / "batches.py").write_text(SWIFT_BATCHES)
    done = subprocess.run(
        [warm_swift / "swift", tmp_path / "batches.py", *map(json.dumps, (row, *models))],
        env={**os.environ, "FPS": "1", "VIDEO_MIN_PIXELS": "3136"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    batches = json.loads(done.stdout.splitlines()[-1])
    for name, batch in zip(QWEN, batches, strict=True):
        answer = [label for label in batch.pop("labels")[0] if label != -100]
        training = torch.tensor(batch.pop("position_ids"))
        inputs = {key: torch.tensor(value) for key, value in batch.items()}
        assert inputs["video_grid_thw"].tolist() == [[STEPS, 2 * ROWS, 2 * COLUMNS]]
        assert (inputs["input_ids"] == 151656).sum() == STEPS * ROWS * COLUMNS
        inputs["input_ids"] = inputs["input_ids"][:, : -len(answer)]
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["pixel_values_videos"] = torch.zeros(STEPS * 4 * ROWS * COLUMNS, 3 * 2 * 14 * 14)
        _, generating, _ = generate(loaded_tiny(name, False)[1], inputs, len(answer))
        assert torch.equal(training[..., :-1], generating)
