"""toyvl's training, and how good a checkpoint is."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters
from tqdm import tqdm
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    VisionAttention,
    apply_rotary_pos_emb_vision,
)

from evaluation.toy.stories import look, read_stories
from inference.captioner import Answer, Captioner, Request, Sampling
from inference.models import open_captioner
from reproduction.toyvl.checkpoint import build_model, build_processor
from reproduction.toyvl.lessons import Lesson, Teacher, collate, read_shots
from tools.text import prompts
from toyworld.language import CONTENT_KINDS, narrate, questions

# In every step: clips and questions; captions of all lists and shots of all videos, were each of
# the longest: so that a step costs about the same all along.
CLIPS, CAPTIONS, SHOTS, QUESTIONS = 96, 120, 154, 40
RATE, DECAY = 1.5e-3, 0.4  # learning rate, and the last share of the steps in which it falls to 0
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.98), 0.02, 1.0
WARMUP = 50  # steps
# From a share of the steps on: most captions in a list, most shots in a video (0: none yet).
COURSE = ((0.0, 4, 0), (0.15, 4, 4), (0.3, 8, 8), (0.5, 16, 16))
PATCHES = 4  # of a frame pair
LIST = 8  # captions that are joined when a checkpoint is measured


def lessons_of(teacher: Teacher, share: float, workers: int) -> list[list[Lesson]]:
    """One worker's lessons in the step at a share of all steps."""
    join, whole = next((join, whole) for start, join, whole in reversed(COURSE) if share >= start)
    batches = [
        [teacher.clip() for _ in range(max(1, CLIPS // workers))],
        [teacher.join(join) for _ in range(max(1, round(CAPTIONS / join / workers)))],
    ]
    if whole:
        count = max(1, round(SHOTS / whole / workers))
        batches.append([teacher.whole(whole) for _ in range(count)])
        batches.append([teacher.ask(whole) for _ in range(max(1, QUESTIONS // workers))])
    return batches


def train(
    rank: int, workers: int, seed: int, steps: int, stories: Path, out: Path, meeting: Path
) -> None:
    """One process of the training: its share of every step's lessons; rank 0 saves.

    Args:
        meeting: a file that is not there yet, by which the processes find one another.
    """
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=workers)
    processor = build_processor()
    model: Any = build_model(processor, seed).train()
    for block in model.model.visual.blocks:
        block.attn.__class__ = EqualChunks
    shots = read_shots(stories)
    teacher = Teacher(shots, processor, seed * 1000 + rank)
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS)
    bar = tqdm(range(steps), desc="toyvl", unit="step", disable=rank > 0, mininterval=5)
    for step in bar:
        share = step / steps
        for group in optimizer.param_groups:  # a short warm-up, level, then linearly to 0
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP, (1 - share) / DECAY)
        losses = []
        for lessons in lessons_of(teacher, share, workers):
            loss = loss_of(model, collate(lessons, shots, processor))
            loss.backward()
            losses.append(loss.item())
        gradients = [w.grad for w in weights]
        total = parameters_to_vector(gradients)
        dist.all_reduce(total)
        vector_to_parameters(total / workers, gradients)
        clip_grad_norm_(weights, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        bar.set_postfix_str(" ".join(f"{loss:.3f}" for loss in losses), refresh=False)
    if rank == 0:
        # In half precision, a file of 1.7 MB, whose rounding no measure shows.
        model.eval().half().save_pretrained(out)
        processor.save_pretrained(out)


class EqualChunks(VisionAttention):
    """Qwen2-VL's attention among the patches of a frame pair, for all pairs at once.

    The library computes one pair after the other, which takes half of the vision tower's time; here
    all of them have `PATCHES` patches.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        rotary_pos_emb: torch.Tensor | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **others: Any,
    ) -> torch.Tensor:
        """(patches of all pairs, width) -> the same; see `VisionAttention`."""
        q, k, v = self.qkv(hidden_states).view(len(hidden_states), 3, self.num_heads, -1).unbind(1)
        assert position_embeddings is not None
        q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
        pairs = (x.unflatten(0, (-1, PATCHES)).transpose(1, 2) for x in (q, k, v))
        mixed = torch.nn.functional.scaled_dot_product_attention(*pairs)
        return self.proj(mixed.transpose(1, 2).reshape(hidden_states.shape))


def loss_of(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the learnt tokens; logits of the others are not computed."""
    labels = inputs.pop("labels")[:, 1:]
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels >= 0
    logits = model.lm_head(hidden[learnt])
    return torch.nn.functional.cross_entropy(logits, labels[learnt])


def measure(checkpoint: Path, unseen: Path) -> dict[str, float]:
    """How good a checkpoint is on stories that it has not seen, through the toolkit's captioner.

    Returns:
        clips: share of clip captions that are right to the letter, of all clips of all videos.
        lists_of_8: share of lists of 8 captions, of clips that follow one another, joined in order
            without a mistake.
        questions: share of questions about whole videos answered right to the letter: a question
            of each kind but those of order about each video.
    """
    captioner = open_captioner(str(checkpoint), batch=64)
    captioner.load("cpu", 1)
    requests, captions, lists, about_videos, answers = [], [], [], [], []
    for story in read_stories(unseen):
        whole, clips = look(story)
        requests += [Request(prompts.clip_messages(clips, k), 0) for k in range(len(clips))]
        captions += story.texts
        lists += [story.texts[k : k + LIST] for k in range(len(clips) - LIST + 1)]
        fps = len(whole) / story.frames * story.fps
        of_kind = {question.kind: question for question in questions(story.events)}
        for question in (of_kind[kind] for kind in CONTENT_KINDS if kind in of_kind):
            about_videos.append(Request(prompts.video_messages(whole, question.text, fps), 0))
            answers.append(question.answer)
    joined = [Request(prompts.response_messages(texts), 0) for texts in lists]
    return {
        "clips": share_right(captioner, requests, captions),
        "lists_of_8": share_right(captioner, joined, [narrate(texts) for texts in lists]),
        "questions": share_right(captioner, about_videos, answers),
    }


def share_right(captioner: Captioner, requests: list[Request], truths: list[str]) -> float:
    """The share of answers that are the truth to the letter."""
    answers = captioner.generate(requests, Sampling.greedy(256))
    right = [isinstance(a, Answer) and a.text == truths[place] for place, a in answers]
    return sum(right) / len(right)
