"""The language model that reads a video: Llama with slots for vectors, and an adapter.

Each vector f of a video stands in a slot of the text as W f + t, where t belongs to the number of
the slot. The language model is frozen; W, t and an adapter are trained, in float32:

- `prefix`: in every layer and head, learned keys and values are attended to by a softmax of their
  own, whose result is added times tanh(gate1); gate2 is added to the scores of the slots wherever
  text behind them looks at them (TOPA, arXiv 2405.13911, after LLaMA-Adapter).
- `lora`: low-rank changes of q_proj and v_proj (peft).
- `none`: W and t alone.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import repeat_kv

from prealignment.model.config import AlignmentConfig

ATTENTION = "gated_prefix"


def gated_prefix(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    video_columns: Tensor | None = None,
    video_rows: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a layer, as transformers' AttentionInterface wants it.

    Args:
        module: the layer's attention; it may hold prefix (A, D), gate1 and gate2 (1, H, 1, 1).
        query: (B, H, Q, d); key, value: (B, heads of keys, K, d).
        attention_mask: (B, 1, Q, K), added to the scores.
        video_columns: (B, up to K) where keys are slots.
        video_rows: (B, Q) which queries stand behind the slots.

    Returns:
        (B, Q, H, d), and no weights.
    """
    # Without a mask every token would see those behind it.
    assert attention_mask is not None
    groups = module.num_key_value_groups
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    mask = attention_mask[..., : key.shape[2]]
    if video_columns is not None and video_rows is not None and hasattr(module, "gate2"):
        columns = F.pad(video_columns, (0, key.shape[2] - video_columns.shape[1]))
        gated = video_rows[:, None, :, None] & columns[:, None, None, :]
        mask = mask + gated * module.gate2.to(query.dtype)
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    if hasattr(module, "prefix"):
        prefix = module.prefix.to(query.dtype)
        keys, values = (
            _by_heads(projection(prefix), query, groups)
            for projection in (module.k_proj, module.v_proj)
        )
        added = F.scaled_dot_product_attention(query, keys, values, scale=scaling)
        attended = attended + torch.tanh(module.gate1).to(query.dtype) * added
    return attended.transpose(1, 2).contiguous(), None


def _by_heads(rows: Tensor, query: Tensor, groups: int) -> Tensor:
    """Rows (A, heads of keys * d) of a prefix as keys or values (B, H, A, d)."""
    heads = rows.view(1, len(rows), -1, query.shape[-1]).transpose(1, 2)
    return repeat_kv(heads, groups).expand(len(query), -1, -1, -1)


AttentionInterface.register(ATTENTION, gated_prefix)
# Without a mask function of that name the library gives no mask at all.
AttentionMaskInterface.register(ATTENTION, eager_mask)


class AlignedLlama(LlamaForCausalLM):
    """Llama that reads videos. `config.alignment` holds the fields of an AlignmentConfig; what is
    added has values only after `draw_alignment` or `load_state_dict`."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.loss_type = "ForCausalLM"  # which the library reads off its own classes' names
        self.alignment = AlignmentConfig(**config.alignment)
        width, heads = config.hidden_size, config.num_attention_heads
        self.visual_proj = nn.Linear(self.alignment.width, width, bias=False)
        self.temporal_emb = nn.Embedding(self.alignment.frames, width)
        if self.alignment.adapter == "prefix":
            for layer in self.model.layers:
                attention = layer.self_attn
                attention.prefix = nn.Parameter(torch.empty(self.alignment.prefix_length, width))
                attention.gate1 = nn.Parameter(torch.empty(1, heads, 1, 1))
                attention.gate2 = nn.Parameter(torch.empty(1, heads, 1, 1))

    @torch.no_grad()
    def draw_alignment(self, seed: int) -> None:
        """Give what is added its first values, add the adapters of lora, and freeze the rest."""
        generator = torch.Generator().manual_seed(seed)
        bound = self.alignment.width**-0.5

        def draw(parameter: Tensor, values: Tensor) -> None:
            parameter.data = values.to(parameter.device)  # float32, whatever the others are

        def normal(parameter: Tensor) -> Tensor:
            return torch.randn(parameter.shape, generator=generator)

        table, projection = self.temporal_emb.weight, self.visual_proj.weight
        draw(table, normal(table) * self.alignment.temporal_std)
        draw(projection, (torch.rand(projection.shape, generator=generator) * 2 - 1) * bound)
        self.requires_grad_(False)
        if self.alignment.adapter == "prefix":
            for attention in (layer.self_attn for layer in self.model.layers):
                draw(attention.prefix, normal(attention.prefix))
                draw(attention.gate1, torch.zeros(attention.gate1.shape))
                draw(attention.gate2, torch.full(attention.gate2.shape, self.alignment.gate2))
        elif self.alignment.adapter == "lora":
            self._add_lora(seed)
        for _, parameter in self.added_parameters():
            parameter.requires_grad_()

    def _add_lora(self, seed: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        rank = self.alignment.rank
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, self)
        for name, parameter in self.named_parameters():
            if ".lora_" in name:
                parameter.data = parameter.data.float()

    def added_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained, by name."""
        ends = ("visual_proj.weight", "temporal_emb.weight", ".prefix", ".gate1", ".gate2")
        for name, parameter in self.named_parameters():
            if name.endswith(ends) or ".lora_" in name:
                yield name, parameter

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        cache_position: Tensor | None = None,
        video: Tensor | None = None,
        video_mask: Tensor | None = None,
        **others: Any,
    ) -> Any:
        """As LlamaForCausalLM's.

        Args:
            input_ids: (B, L); what stands in the slots makes no difference.
            video: (B, F, width) float32, the vectors of each row from its first slot on; rows that
                have fewer slots are padded. None where the slots are in the cache already.
            video_mask: (B, up to all tokens) True where a slot is, those in the cache included.
        """
        if inputs_embeds is None:
            inputs_embeds = self.model.embed_tokens(input_ids)
        rows = None
        if video_mask is not None:
            length = inputs_embeds.shape[1]
            if video is not None:
                slots = F.pad(video_mask, (0, length - video_mask.shape[1]))
                numbers = torch.arange(video.shape[1], device=video.device)
                held = numbers < slots.sum(1, keepdim=True)
                vectors = self.visual_proj(video[held].to(self.visual_proj.weight.dtype))
                vectors = vectors + self.temporal_emb(numbers.expand(held.shape)[held])
                inputs_embeds = inputs_embeds.masked_scatter(
                    slots[..., None], vectors.to(inputs_embeds.dtype)
                )
            places = torch.arange(1, video_mask.shape[1] + 1, device=video_mask.device)
            behind = (video_mask * places).amax(1, keepdim=True)
            if cache_position is None:
                cache_position = torch.arange(length, device=video_mask.device)
            rows = cache_position >= behind
        return super().forward(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            cache_position=cache_position,
            video_columns=video_mask,
            video_rows=rows,
            **others,
        )

    # generate() takes the arguments that are named in the signatures of these two methods.
    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: Any,
        attention_mask: Any = None,
        cache_position: Any = None,
        video: Tensor | None = None,
        video_mask: Tensor | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """The vectors go in while nothing is cached; where the slots are is needed at each step."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, attention_mask=attention_mask, cache_position=cache_position, **others
        )
        begins = cache_position is None or cache_position[0] == 0
        return {**inputs, "video": video if begins else None, "video_mask": video_mask}


def open_llm(
    folder: Path,
    alignment: AlignmentConfig,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    rope_theta: float | None = None,
) -> AlignedLlama:
    """A language model with what is added to it, untrained, in eval mode on the CPU.

    Args:
        folder: of a Llama checkpoint.
        dtype: of the frozen weights.
        rope_theta: base of its rotary positions; None: its own.
    """
    config = LlamaConfig.from_pretrained(folder)
    config.alignment = asdict(alignment)
    if rope_theta:
        config.rope_theta = rope_theta
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it warns of what is not in the checkpoint
    try:
        model = AlignedLlama.from_pretrained(
            folder, config=config, dtype=dtype, attn_implementation=ATTENTION
        )
    finally:
        transformers.logging.set_verbosity(level)
    model.draw_alignment(seed)
    return model.eval()
