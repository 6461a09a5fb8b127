"""The flags of `python -m grounding.answer`: which frames are chosen, how the model is asked."""

from dataclasses import dataclass
from pathlib import Path

from inference.captioner import Sampling
from tools.cli import positive, setting
from tools.errors import UserError

NFRAME = 4  # frames of a video (VideoTGB)


@dataclass(frozen=True)
class AnswerSettings:
    """See the help of each field."""

    split: str = setting("test", "whose questions are answered", metavar="NAME", group="answers")
    checkpoint: Path | None = setting(
        None,
        "folder of a trained answerer, such as exp/EXPERIMENT, in the place of --model (default:"
        " --model as it is)",
        type=Path,
        metavar="DIR",
    )
    base: str | None = setting(
        None,
        "the BLIP-2 or InstructBLIP that --checkpoint was made of, where it has moved (default: as"
        " the checkpoint says)",
        metavar="DIR_OR_ID",
    )
    name: str | None = setting(
        None,
        "in the names of files (default: that of the model, the kind and number of frames)",
        metavar="NAME",
    )
    frames: str = setting(
        "grounded",
        "grounded: of the span that the bridge points at; annotated: of the spans that the record"
        " of a question names (context.spans), which is the most that choosing frames can give;"
        " uniform: of the whole video; all in the middles of equal parts, by time",
        choices=["grounded", "annotated", "uniform"],
        group="frames",
    )
    nframe: int | None = setting(
        None,
        f"frames of a video (default: as many as the answerer was trained on, else {NFRAME})",
        type=positive,
    )
    sampler: Path | None = setting(
        None,
        "folder of a trained bridge (default: that of --checkpoint, where one was trained with it)",
        type=Path,
        metavar="DIR",
    )
    k: int = setting(1, "spans that the frames come from, at most", type=positive)
    extractor: str | None = setting(
        None,
        "whose optical flow is read (default: that which the bridge has learned from)",
        metavar="NAME",
    )
    write: bool = setting(
        False,
        "list the options and read the written answer (default: compare the options' log p where"
        " the engine computes it)",
        group="how the model is asked",
    )
    subtitles: bool = setting(False, "put subtitles before the question (default: leave them out)")
    instruction: str | None = setting(
        None,
        "what follows a question whose answer is written (default: of BLIP-2 and InstructBLIP and"
        " open questions nothing; else ask for a letter, or for one word or a short phrase)",
        metavar="TEXT",
    )
    max_new_tokens: int = setting(128, "longest written answer, tokens", type=positive)
    temperature: float = setting(0.0, "of what is drawn; 0 is greedy", type=float)
    top_p: float = setting(
        1.0, "the smallest set of tokens of this probability is drawn from", type=float
    )
    repetition_penalty: float = setting(1.0, "divides the logit of a token that is there already")
    num_beams: int = setting(
        1, "of beam search, for BLIP-2 and InstructBLIP; 1 is none", type=positive
    )
    length_penalty: float = setting(
        1.0, "power of the length by which a beam's log p is divided", type=float
    )
    seed: int = setting(0, "of what is drawn")

    def __post_init__(self) -> None:
        if self.top_p < 1 and not self.temperature:
            raise UserError(f"--top_p {self.top_p} has no effect without --temperature, such as 1")
        if self.base and not self.checkpoint:
            raise UserError(f"--base {self.base} goes with --checkpoint")
        if self.frames != "grounded" and self.sampler:
            raise UserError(
                f"--sampler does not go with --frames {self.frames}, which asks no bridge"
            )

    @property
    def sampling(self) -> Sampling:
        """Of written answers."""
        if not self.temperature:
            return Sampling.greedy(self.max_new_tokens, self.repetition_penalty)
        rest = (self.repetition_penalty, self.max_new_tokens)
        return Sampling(self.temperature, self.top_p, 0, *rest)

    @property
    def bridge(self) -> Path | None:
        """The folder of the bridge that chooses the frames; None where none does.

        Raises:
            UserError: there is none.
        """
        if self.frames != "grounded":
            return None
        if self.sampler:
            return self.sampler
        from grounding.bridge.sampler import BRIDGE

        if self.checkpoint and (self.checkpoint / BRIDGE).is_file():
            return self.checkpoint
        raise UserError(
            "--frames grounded needs a trained bridge: give its folder as --sampler DIR, or take"
            " --frames uniform"
        )
