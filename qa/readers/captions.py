"""Readers of captions: MSR-VTT and VATEX. Each video is one record, its first caption the answer
and the others references."""

from collections import defaultdict

from qa.readers.rows import Draft, QuestionFiles, Rejected, Row, document
from tools.errors import UserError
from tools.text.captions import CAPTION_QUESTION

# MSR-VTT's own names of splits -> what users also say.
OTHER_NAMES = {"validate": ("val", "validation")}


def msrvtt_rows(source: QuestionFiles) -> list[Row]:
    """A row a video of `test_videodatainfo.json`, or of another file of {"videos", "sentences"}:
    its captions in the file's order, and its split where the file holds several."""
    content, origin = document(source.file)
    try:
        splits = {video["video_id"]: video.get("split") for video in content["videos"]}
        captions: dict[str, list[str]] = defaultdict(list)
        for sentence in content["sentences"]:
            captions[sentence["video_id"]].append(sentence["caption"])
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"{source.file}: the layout is not known as msrvtt: it wants videos [{{video_id}}] and"
            " sentences [{video_id, caption}]"
        ) from None
    several = len(set(splits.values())) > 1
    return [
        Row(
            {
                "video_id": name,
                "captions": captions.get(name),
                "split": splits.get(name) if several or name not in splits else source.split,
            },
            {**origin, "place": place},
        )
        for place, name in enumerate(dict.fromkeys([*splits, *captions]))
    ]


def msrvtt(row: Row, source: QuestionFiles) -> Draft:
    """MSR-VTT's captions; videos of another split than the one that is read are left out."""
    split = row["split"]
    if split is None:
        raise Rejected("missing_field", "'videos' has no split of it, or lacks it")
    if source.split not in (split, *OTHER_NAMES.get(split, ())):
        raise Rejected("other_split", f"the file puts it into {split!r}")
    return _captioned(row.text("video_id"), row.texts("captions"))


def vatex(row: Row, source: QuestionFiles) -> Draft:
    """VATEX's English captions, `vatex_validation_v1.0.json`: a list of videoID and enCap."""
    del source
    return _captioned(row.text("videoID"), row.texts("enCap"))


def _captioned(name: str, captions: list[str]) -> Draft:
    if not captions:
        raise Rejected("no_answer", "it has no caption")
    answer, *references = captions
    return Draft(
        id=name,
        question=CAPTION_QUESTION,
        videos=[name],
        answer=answer,
        references=references,
        type="caption",
    )
