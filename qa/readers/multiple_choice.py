"""Readers of benchmarks with options: NExT-QA (and its open form), STAR, TVQA, EgoSchema, MVBench,
and the rows of CaTeR's public code."""

import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

from qa.readers.rows import Draft, QuestionFiles, Rejected, Row, entry, rows_of
from tools.errors import UserError

TVQA_FRAMES = {"fps": 3, "first": 1}  # pictures a second and the first picture's number

# Name of MVBench's file -> the folder of its videos below the folder `video` of the data set.
# A name of a video alone would not do: video_10142.mp4 is in two of them.
MVBENCH_FOLDERS = {
    "action_antonym": "ssv2_video",
    "action_count": "perception/videos",
    "action_localization": "sta/sta_video",
    "action_prediction": "star/Charades_v1_480",
    "action_sequence": "star/Charades_v1_480",
    "character_order": "perception/videos",
    "counterfactual_inference": "clevrer/video_validation",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "fine_grained_pose": "nturgbd",
    "moving_attribute": "clevrer/video_validation",
    "moving_count": "clevrer/video_validation",
    "moving_direction": "clevrer/video_validation",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "scene_transition": "scene_qa/video",
    "state_change": "perception/videos",
    "unexpected_action": "FunQA_test/test",
}
REVISION = re.compile(r"_\d{8}$")  # action_sequence_20250131.json

# What CaTeR's rows hold beside the question; a vector of a teacher is no part of a question.
CATER_CONTEXT = ("event_prompts", "frame_prompts", "teacher_hard_idx")
CATER_FPS = 1  # pictures without their times: places count as seconds
CATER_PICTURE = re.compile(r".*?(\d+)\.\w+")  # frame1.jpg


def numbered_options(row: Row, first: int = 0) -> list[str]:
    """The options in the columns a0, a1, ..., or from another number on."""
    options: list[str] = []
    while f"a{first + len(options)}" in row:
        options.append(row.text(f"a{first + len(options)}"))
    return options


def index_or_text(row: Row, name: str) -> tuple[int | None, str | None]:
    """The right answer as (its position, None) where the field holds a number, else as (None, its
    text); (None, None) where labels are hidden."""
    if not row.has(name):
        return None, None
    text = row.text(name)
    return (row.whole(name), None) if text.isdecimal() else (None, text)


def nextqa(row: Row, source: QuestionFiles) -> Draft:
    """NExT-QA, `dataset/nextqa/val.csv` of doc-doc/NExT-QA: options a0 to a4, `answer` 0 to 4; or
    the open form of doc-doc/NExT-OE, without options. `qid` is unique within a video only."""
    video = row.text("video")
    draft = Draft(
        id=f"{video}/{row.text('qid')}",
        question=row.text("question"),
        videos=[entry(source.names, video, str) or video],
        type=row.text("type"),
    )
    if "a0" in row:
        draft.choices = numbered_options(row)
        draft.answer_index, draft.answer = index_or_text(row, "answer")
        return draft
    draft.answer = row.text("answer") if row.has("answer") else None
    others = entry(source.answer_table, video, dict) or {}
    texts = [entry(others, row.text("qid"), str), row.get("additional_ref_answer")]
    draft.references = [text.strip() for text in texts if text and text.strip()]
    return draft


def star(row: Row, source: QuestionFiles) -> Draft:
    """STAR, `STAR_val.json`: the answer is a text, the options' order is that of `choice_id`."""
    del source
    options = row.get("choices")
    try:
        in_order = sorted(options or (), key=lambda option: option["choice_id"])
        choices = [option["choice"].strip() for option in in_order]
    except (TypeError, KeyError, AttributeError):
        raise Rejected("unreadable_field", f"'choices' is {options!r:.60}") from None
    return Draft(
        id=row.text("question_id"),
        question=row.text("question"),
        videos=[row.text("video_id")],
        choices=choices,
        answer=row.text("answer") if row.has("answer") else None,
        type=row.text("question_id").partition("_")[0],
        start=row.seconds("start"),
        end=row.seconds("end"),
    )


def tvqa(row: Row, source: QuestionFiles) -> Draft:
    """TVQA, `tvqa_val.jsonl`: times as "76.01-84.2", or nan-nan, which asks about the whole clip;
    `answer_idx` is absent where labels are hidden; the type is the show."""
    del source
    clip = row.text("vid_name")
    draft = Draft(
        id=row.text("qid"),
        question=row.text("q"),
        videos=[clip],
        choices=numbered_options(row),
        answer_index=row.whole("answer_idx") if row.has("answer_idx") else None,
        type=row.text("show_name"),
        context={"frames": TVQA_FRAMES},
        subtitles=clip,
    )
    times = row.text("ts")
    if "nan" in times:
        draft.notes.append("times are nan: the whole clip is asked about")
        return draft
    try:
        draft.start, draft.end = map(float, times.split("-"))
        is_time = math.isfinite(draft.start) and math.isfinite(draft.end)
    except ValueError:
        is_time = False
    if not is_time:
        raise Rejected("unreadable_field", f"'ts' is {times!r}")
    return draft


def egoschema(row: Row, source: QuestionFiles) -> Draft:
    """EgoSchema, `questions.json` (q_uid, `option 0` to `option 4`), or a csv file with uid, a0 to
    a4 and answer. The map is `uid_to_ego4d.json`: then the videos are Ego4D's own."""
    uid = row.text("q_uid" if "q_uid" in row else "uid")
    options = "option {}" if "q_uid" in row else "a{}"
    draft = Draft(
        id=uid,
        question=row.text("question"),
        videos=[uid],
        choices=[row.text(options.format(number)) for number in range(5)],
    )
    draft.answer_index, draft.answer = index_or_text(row, "answer")
    if source.answers:
        draft.answer_index = entry(source.answer_table, uid, int)
        if draft.answer_index is None:
            raise Rejected("no_answer", f"{source.answers} has none for {uid!r}")
    if source.map:
        part = Row(entry(source.names, uid, dict) or {}, row.origin)
        draft.videos = [part.text("video_uid")]
        draft.start, draft.end = part.seconds("starting_sec"), part.seconds("ending_sec")
    return draft


def mvbench_rows(source: QuestionFiles) -> list[Row]:
    """The rows of one of MVBench's files, or of all files of a folder."""
    files = sorted(source.file.glob("*.json")) if source.file.is_dir() else [source.file]
    if not files:
        raise UserError(f"{source.file} holds no .json file of MVBench")
    for file in files:
        if _task(file.name) not in MVBENCH_FOLDERS:
            raise UserError(
                f"{file} is none of MVBench's files: {' '.join(sorted(MVBENCH_FOLDERS))} (.json)"
            )
    return [row for file in files for row in rows_of(file)]


def _task(name: str) -> str:
    return REVISION.sub("", Path(name).stem)


def mvbench(row: Row, source: QuestionFiles) -> Draft:
    """MVBench, `json/<task>.json`: the answer is a text, the type is the task, and the videos lie
    in the folder of the task. Episodic Reasoning shows folders of pictures."""
    del source
    task = _task(row.origin["file"])
    is_frames = task == "episodic_reasoning"
    return Draft(
        id=f"{task}/{row.position}",
        question=row.text("question"),
        videos=[f"{MVBENCH_FOLDERS[task]}/{row.text('video')}"],
        choices=row.texts("candidates"),
        answer=row.text("answer") if row.has("answer") else None,
        type=task,
        start=row.seconds("start"),
        end=row.seconds("end"),
        context={"frames": TVQA_FRAMES} if is_frames else {},
    )


def cater(row: Row, source: QuestionFiles) -> Draft:
    """The JSONL rows of CaTeR's public code: `answer_idx`, prompts, and `frame_paths`, whose folder
    is named after the video; without them a question has no media."""
    del source
    context: dict[str, Any] = {name: row[name] for name in CATER_CONTEXT if row.has(name)}
    paths = row.texts("frame_paths") if row.get("frame_paths") else []
    if paths:
        names = (CATER_PICTURE.fullmatch(PurePosixPath(path).name) for path in paths)
        first = min((int(name[1]) for name in names if name), default=1)
        context["frames"] = {"fps": CATER_FPS, "first": first}
    return Draft(
        id=row.text("id"),
        question=row.text("question"),
        videos=[PurePosixPath(paths[0]).parent.name] if paths else [],
        media="video" if paths else "text",
        choices=row.texts("choices"),
        answer_index=row.whole("answer_idx") if row.has("answer_idx") else None,
        context=context,
        notes=["a teacher's vector stays in the file"] if row.has("teacher_embedding") else [],
    )
