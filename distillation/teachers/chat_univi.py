"""Chat-UniVi (Jin et al., CVPR 2024, arXiv 2311.08046): a Llama that reads merged visual tokens.

A checkpoint is read as it was released: config.json with the fields of a Llama and of the merging,
and pickled or safetensors weights in which the vision tower, where it is inside, and the projection
stand beside the Llama. Pickles are read without running what is in them. The released code puts a
sentence about the assistant before the question; it is left out here.
"""

import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillation.teachers.merging import Merging
from distillation.teachers.teacher import (
    Case,
    LocalTeacher,
    View,
    Weights,
    check_names,
    whole_network,
)
from inference.checkpoints import local_folder
from tools.errors import UserError
from tools.store.files import read_json
from tools.text.chat import VIDEO_PROMPT

CHECKPOINT = "Chat-UniVi/Chat-UniVi"
VIEW = View(1, "per_second", 64)  # one frame a second, as in training
TOWER = "model.vision_tower.vision_tower."
PROJECTOR = "model.mm_projector."
# Buffers that old releases of transformers saved and new ones compute.
COMPUTED = ("rotary_emb.inv_freq", "embeddings.position_ids")


class ChatUniVi(LocalTeacher):
    """LlamaForCausalLM, CLIPVisionModel, the merging and one linear layer.

    Args:
        public_events: merge with the released code's noise, seeded by 0.
    """

    model_type = "ChatUniVi"
    pickled = True

    def __init__(
        self,
        name: str,
        checkpoint: str,
        view: View | None = None,
        weights: Weights | None = None,
        public_events: bool = False,
    ) -> None:
        super().__init__(name, checkpoint, view or VIEW, weights)
        self.public_events = public_events

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), "public_events": self.public_events}

    @property
    def order_blind_below(self) -> int:  # type: ignore[override]
        """Videos of fewer frames than this are one event, whose tokens know no order."""
        rate = read_json(local_folder(self.checkpoint, True) / "config.json")["config"]
        return math.floor(1 / rate["temporal_cluster_rate"]) + 1

    def open(self, device: str) -> None:
        import torch
        from transformers import (
            CLIPImageProcessor,
            CLIPVisionConfig,
            CLIPVisionModel,
            LlamaConfig,
            LlamaForCausalLM,
            LlamaTokenizerFast,
        )

        folder = local_folder(self.checkpoint, True)
        config = read_json(folder / "config.json")
        if not config["config"].get("use_cluster") or config.get("mm_use_im_start_end"):
            raise UserError(
                f"{folder / 'config.json'}: only checkpoints with use_cluster and without"
                " mm_use_im_start_end are read"
            )
        tower = folder / config["mm_vision_tower"]
        if not tower.is_dir():
            tower = local_folder(config["mm_vision_tower"], True)
        arguments = self.weights.arguments(device)
        llama, vision, projector = split(tensors(folder))
        own = {key: value for key, value in config.items() if key != "model_type"}
        self.network = strict(LlamaForCausalLM, LlamaConfig(**own), llama, arguments, folder)
        plain = {key: value for key, value in arguments.items() if key != "quantization_config"}
        if vision:
            vision_config = CLIPVisionConfig.from_pretrained(tower)
            self.tower = strict(CLIPVisionModel, vision_config, vision, plain, folder)
        else:
            self.tower = whole_network(CLIPVisionModel, tower, plain)
        self.projector = torch.nn.Linear(config["mm_hidden_size"], config["hidden_size"])
        wanted = self.projector.state_dict().keys()
        check_names(folder, projector.keys() - wanted, wanted - projector.keys())
        self.projector.load_state_dict(projector)
        self.projector.to(device, arguments["dtype"])
        self.layer = config["mm_vision_select_layer"]
        scales = [config["config"][f"spatial_cluster_rate{n}"] for n in range(3)]
        rate, noise = config["config"]["temporal_cluster_rate"], 0 if self.public_events else None
        self.merging = Merging((scales[0], scales[1], scales[2]), rate, noise)
        self.images = CLIPImageProcessor.from_pretrained(tower)
        self.tokenizer = LlamaTokenizerFast.from_pretrained(folder)

    def encode(self, case: Case, prompt: str) -> dict[str, Any]:
        """The embeddings of the prompt, the merged tokens in the place of the video."""
        import torch

        device = self.network.device
        pixels = self.images(case.frames, return_tensors="pt")["pixel_values"]
        states = self.tower(pixels.to(device, self.tower.dtype), output_hidden_states=True)
        visual = self.projector(self.merging.tokens(states.hidden_states[self.layer][:, 1:]))
        before, after = VIDEO_PROMPT.format(question=prompt).split("<video>", 1)
        embed = self.network.get_input_embeddings()
        texts = [
            self.tokenizer.encode(text, add_special_tokens=first)
            for text, first in ((before, True), (after, False))
        ]
        ahead, behind = (embed(torch.tensor(ids, device=device)) for ids in texts)
        embeddings = torch.cat([ahead, visual.to(ahead.dtype), behind])[None]
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=device)
        return {"inputs_embeds": embeddings, "attention_mask": mask}


def tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """The names and tensors of a checkpoint's files.

    Raises:
        UserError: a file cannot be read, or holds more than tensors.
    """
    import torch
    from safetensors.torch import load_file

    safe = sorted(folder.glob("*.safetensors"))
    for path in safe or sorted(folder.glob("pytorch_model*.bin")):
        try:
            if safe:
                yield from load_file(path).items()
                continue
            state = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except pickle.UnpicklingError:  # torch's own message tells people to run it nevertheless
            raise UserError(
                f"{path} holds more than tensors, and what it would run is not trusted: convert it"
                " to safetensors"
            ) from None
        yield from state.items()


def split(named: Iterator[tuple[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The tensors of the Llama, of the vision tower and of the projection, by their names there.

    Raises:
        UserError: a name belongs to none.
    """
    llama: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {
        TOWER: {},
        PROJECTOR: {},
        "model.": llama,
        "lm_head.": llama,
    }
    for key, tensor in named:
        if key.endswith(COMPUTED):
            continue
        prefix = next((prefix for prefix in parts if key.startswith(prefix)), None)
        if prefix is None:
            raise UserError(f"{key!r} is no tensor of a Chat-UniVi: another kind of checkpoint?")
        name = key if parts[prefix] is llama else key.removeprefix(prefix)
        parts[prefix][name] = tensor
    return llama, parts[TOWER], parts[PROJECTOR]


def strict(
    kind: Any, config: Any, state: dict[str, Any], arguments: dict[str, Any], folder: Path
) -> Any:
    """A model of transformers out of exactly its tensors.

    Raises:
        UserError: some are missing, or belong to no layer.
    """
    network, info = kind.from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True, **arguments
    )
    check_names(folder, info["unexpected_keys"], info["missing_keys"])
    return network.eval()
