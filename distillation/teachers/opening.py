"""Which teacher --teacher_name means, and how it is loaded."""

from dataclasses import dataclass

from distillation.teachers import chat_univi, idefics, video_llava
from distillation.teachers.teacher import BY, DTYPES, LocalTeacher, Teacher, View, Weights
from inference.captioner import Captioner
from inference.models import check_model_name, models, open_captioner
from tools.cli import positive, setting
from tools.errors import UserError

KINDS = ("videollava", "flamingo", "chatunivl")


@dataclass(frozen=True)
class TeachSettings:
    """See the help of each field."""

    teacher_name: str = setting(
        "",
        "videollava; flamingo (IDEFICS-1, its open re-implementation); chatunivl (Chat-UniVi);"
        f" one of {', '.join(models())}, or a checkpoint's folder or id on the hub; NAME@URL, any"
        " OpenAI-compatible server, whose key OPENAI_API_KEY holds; or a .jsonl file of judgements",
        required=True,
        metavar="TEACHER",
        group="the teacher",
    )
    model_id: str | None = setting(
        None,
        "checkpoint of videollava, flamingo or chatunivl, a folder or an id on the hub (default:"
        f" {video_llava.CHECKPOINT}, {idefics.CHECKPOINT}, {chat_univi.CHECKPOINT})",
        metavar="DIR_OR_ID",
    )
    name: str | None = setting(
        None, "of the folder of its judgements (default: the teacher's)", metavar="NAME"
    )
    dtype: str = setting(
        "auto",
        "of the weights of these three (default auto: bfloat16 where the device has it, else"
        " float32)",
        choices=list(DTYPES),
    )
    load_in_4bit: bool = setting(False, "hold the weights of these three in 4 bits (nf4)")
    attend: str = setting(
        "last",
        "frames that the text of flamingo sees: last, as in training; all",
        choices=["last", "all"],
    )
    public_events: bool = setting(
        False, "chatunivl finds events with the noise of the released code, seeded"
    )
    split: str = setting("train", "whose questions are judged", metavar="NAME", group="judgements")
    by: str = setting(
        "auto",
        "how options are compared: by the log p of their text, or of their letter over all cyclic"
        " orders (default auto: whichever is right more often on the first 200 questions)",
        choices=["auto", *BY],
    )
    num_video_frames: int | None = setting(
        None,
        "frames of a video, in the middles of equal parts (default: 8; of chatunivl one a second,"
        " at most 64)",
        type=positive,
    )
    allow_chance: bool = setting(
        False, "write the judgements of a teacher that may be guessing (default: refuse it)"
    )


def open_teacher(settings: TeachSettings) -> Teacher:
    """The teacher of parsed flags; nothing is loaded yet.

    Raises:
        UserError: there is none of that name, or a flag does not go with it.
    """
    kind = settings.teacher_name
    own = {
        "model_id": KINDS,
        "dtype": KINDS,
        "load_in_4bit": KINDS,
        "attend": ("flamingo",),
        "public_events": ("chatunivl",),
    }
    for flag, kinds in own.items():
        if getattr(settings, flag) != getattr(TeachSettings, flag) and kind not in kinds:
            raise UserError(f"--{flag} goes with {' and '.join(kinds)}, not with {kind}")
    count = settings.num_video_frames
    view = None if count is None else View(count)
    if kind not in KINDS:
        teacher = _of_captioner(open_captioner(kind, name=settings.name), view)
    else:
        teacher = _of_kind(settings, view)
    check_model_name(teacher.name)
    return teacher


def _of_kind(settings: TeachSettings, view: View | None) -> LocalTeacher:
    name = settings.name or settings.teacher_name
    weights = Weights(settings.dtype, settings.load_in_4bit)
    checkpoint = settings.model_id
    if settings.teacher_name == "videollava":
        return video_llava.VideoLlava(name, checkpoint or video_llava.CHECKPOINT, view, weights)
    if settings.teacher_name == "flamingo":
        attend_all = settings.attend == "all"
        checkpoint = checkpoint or idefics.CHECKPOINT
        return idefics.Idefics(name, checkpoint, view, weights, attend_all)
    checkpoint = checkpoint or chat_univi.CHECKPOINT
    return chat_univi.ChatUniVi(name, checkpoint, view, weights, settings.public_events)


def _of_captioner(captioner: Captioner, view: View | None) -> Teacher:
    from inference.engines.huggingface import HuggingFaceCaptioner
    from inference.engines.server import ServerCaptioner

    if isinstance(captioner, ServerCaptioner):
        from distillation.teachers.server import ServerTeacher

        return ServerTeacher(captioner, view)
    if isinstance(captioner, HuggingFaceCaptioner):
        from distillation.teachers.generic import GenericTeacher

        return GenericTeacher(captioner, view)
    raise UserError(f"{captioner.name} gives no log p of options, so it is no teacher")
