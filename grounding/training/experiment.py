"""Experiments by name: YAML recipes in grounding/experiments/, and `key=value` overrides of them.

A recipe stands under one name in both families of names, `VideoTGB_<recipe>` and `LSTP_<recipe>`.
The classes below hold every key with its default and what it means; a recipe holds what it changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from grounding.answerer.decoding import Decoding
from grounding.bridge.network import BridgeConfig
from grounding.bridge.sampler import BRIDGE
from grounding.bridge.weights import load_bridge
from tools.errors import UserError, did_you_mean

FOLDER = Path(__file__).parents[1] / "experiments"
PREFIXES = ("VideoTGB_", "LSTP_")
TINY = "tiny"  # the file that tiny=true puts over a recipe
COMMAND_LINE = "the command line"
EVALUATION = "eval_"  # the seeds' experiments of this prefix answer questions


def _keys_of(kind: type, without: Sequence[str] = (), **defaults: Any) -> type:
    """A class with the fields of a frozen one, whose values can be replaced key by key."""
    return make_dataclass(
        kind.__name__,
        [
            (own.name, own.type, field(default=defaults.get(own.name, own.default)))
            for own in fields(kind)
            if own.name not in without
        ],
    )


@dataclass
class Data:
    """What is learned from. docs/grounding.md says what the keys come to."""

    dataset: str = "videoinstruct"
    split: str = "train"
    val_split: str | None = None  # its loss is computed after every epoch; null: none
    text_dir: str | None = None  # the data set's folder; null: path.text_dir, else by its name
    video_dir: str | None = None  # the videos' folder; null: path.video_dir, else the data set's
    processor_name: str | None = None  # null: the model's own, the only one that fits
    sampler_processor_name: str = "bert-base-uncased"  # tokenizer of the questions to the bridge
    nframe: int = 4  # frames of a video that the answerer sees
    target_size: int | None = None  # side of a frame, pixels; null: the model's own, which fits
    batch_size: int = 4  # examples of a process at once
    max_text: int = 128  # longest prompt and longest answer, tokens
    spans: str | None = None  # file or sampler's name; auto: the only one's; null: whole videos
    labels: str | None = None  # tg: file of labels; null: what grounding.labels wrote
    min_confidence: float = 0.5  # tg, sf: labels below it are left out
    baseline: str = "mean"  # sf: none | min | mean | top, what of a frame's score counts
    num_workers: int = 4  # processes that read frames


@dataclass
class Optimizer:
    """The method's; `name` is adam or adamw."""

    name: str = "adamw"
    lr: float = 5e-5
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    eps: float = 1e-8


@dataclass
class Scheduler:
    """A warm-up, then a cosine to 0 at the last step."""

    warmup_ratio: float = 0.05  # of the steps


@dataclass
class Model:
    """What learns."""

    model_name_or_path: str = "Salesforce/blip2-flan-t5-xl"
    tiny: str = "blip2_t5"  # what tiny=true takes in its place: a family of inference.tiny.blip
    sampler_name_or_path: str | None = "bert-base-uncased"  # a trained bridge's folder, or BERT
    bridge: Any = field(
        default_factory=_keys_of(BridgeConfig, ("vocabulary", "extractor", "input", "features"))
    )
    of_extractor_name_or_path: str = "dis"  # whose flow the bridge reads: python -m grounding.flow
    freeze_language: bool = True  # sf: false: the language model learns too (the released BLIP-2)
    fusion: str = "concat"  # concat | mean: what becomes of the frames' visual tokens
    optimizer: Optimizer = field(default_factory=Optimizer)
    scheduler: Scheduler = field(default_factory=Scheduler)
    generate_configs: Any = field(default_factory=_keys_of(Decoding, temperature=1.0, top_p=0.9))


@dataclass
class Paths:
    """Folders."""

    data_dir: str | None = None  # of the data sets; null: data/ of the repository
    text_dir: str | None = None
    video_dir: str | None = None
    output_dir: str | None = None  # null: exp/<experiment>


@dataclass
class Machine:
    """How the training runs."""

    strategy: str = "auto"  # auto | ddp: one process a device, started by torchrun
    accelerator: str = "auto"  # auto | cpu | gpu
    devices: int = 1  # of a machine
    num_nodes: int = 1
    precision: str = "32"  # 32 | bf16 | 16
    max_epochs: int = 1
    max_steps: int = -1  # -1: as many as the epochs have
    accumulate_grad_batches: int = 1
    gradient_clip_val: float = 1.0
    log_every_n_steps: int = 10
    save_every_n_steps: int = 500


@dataclass
class Experiment:
    """Every key of an experiment."""

    experiment: str = ""
    stage: str = "video"  # tg | iv | ivt | sf | video: what is trained, and on what
    tiny: bool = False  # true: tiny.yaml on top, which two cores run in seconds
    seed: int = 43
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    path: Paths = field(default_factory=Paths)
    trainer: Machine = field(default_factory=Machine)


def recipes() -> list[str]:
    """The recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != TINY)


def names() -> list[str]:
    """Every name of an experiment."""
    return [prefix + recipe for prefix in PREFIXES for recipe in recipes()]


def defaults() -> str:
    """Every key with its default, as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(Experiment))


def compose(words: Sequence[str]) -> Experiment:
    """The experiment that a command line names.

    Args:
        words: `experiment=NAME` and `key=value`, in any order; the key of a key is behind a dot,
            and values are YAML. `tiny=true` makes of a recipe what two cores run in seconds;
            other overrides win over it.

    Raises:
        UserError: no experiment of that name, no such key, or a value of another type.
    """
    overrides = _parsed(words)
    recipe = _recipe_of(str(overrides.get("experiment") or ""))
    experiment: Any = OmegaConf.structured(Experiment)
    files = [recipe]
    if _merged(experiment, overrides, COMMAND_LINE).tiny:
        files.append(TINY)
    for name in files:
        experiment = _merged(experiment, OmegaConf.load(FOLDER / f"{name}.yaml"), f"{name}.yaml")
    whole: Any = OmegaConf.to_object(_merged(experiment, overrides, COMMAND_LINE))
    trained = Path(whole.model.sampler_name_or_path or "") / BRIDGE
    if trained.is_file():
        own = OmegaConf.select(overrides, "model.bridge", default={})
        _take_trained(whole.model.bridge, load_bridge(trained).config, own, trained)
    return whole


def _take_trained(keys: Any, config: BridgeConfig, own: Iterable[str], file: Path) -> None:
    """Give the keys of a bridge the values of a trained one.

    Args:
        own: the keys that the command line names.
    """
    for key, value in vars(keys).items():
        trained = getattr(config, key)
        if key in own and value != trained:
            raise UserError(
                f"model.bridge.{key}={value}: the bridge in {file} has {trained}, and keeps it;"
                " leave the key out, or begin with another model.sampler_name_or_path"
            )
        setattr(keys, key, trained)


def _parsed(words: Sequence[str]) -> DictConfig:
    overrides = OmegaConf.create()
    for word in words:
        if not word.partition("=")[0] or "=" not in word:
            raise UserError(f"{word!r} is no override: write key=value, such as data.nframe=4")
        try:
            # Hydra asks for a plus before keys that a recipe does not have.
            overrides.merge_with_dotlist([word.removeprefix("+")])
        except YAMLError:
            raise UserError(
                f"{word!r}: the value is no YAML; quote what has a colon in it"
            ) from None
    return overrides


def _recipe_of(name: str) -> str:
    if not name:
        raise UserError(f"experiment=NAME is missing; there are: {', '.join(names())}")
    if name.startswith(EVALUATION):
        raise UserError(
            f"{name}: python -m grounding.answer DATASET WORLD_SIZE --split test --checkpoint"
            f" exp/{name.removeprefix(EVALUATION)} answers the questions of a test"
        )
    recipe = next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), "")
    if recipe not in recipes():
        hint = did_you_mean(name, names())
        raise UserError(f"no experiment {name!r}{hint}; there are: {', '.join(names())}")
    return recipe


def _merged(experiment: Any, changes: Any, where: str) -> Any:
    """The experiment with changes.

    Args:
        where: what the changes come from, for messages.
    """
    try:
        merged = OmegaConf.merge(experiment, changes)
        OmegaConf.to_object(merged)  # which finds what a ${...} names
        return merged
    except ConfigKeyError as error:
        every = (key for key, _ in flat(asdict(Experiment())))
        hint = did_you_mean(str(error.full_key), every)
        raise UserError(f"{where}: there is no key {error.full_key!r}{hint}") from None
    except OmegaConfBaseException as error:
        [why, *_] = str(error).splitlines()
        key = error.full_key or "a group of keys takes no value"
        raise UserError(f"{where}: {key}: {why}") from None


def flat(groups: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each key behind those that lead to it, with its value."""
    for key, value in groups.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
