"""The table of benchmarks: which function reads each, which fields its rows have, what it wants."""

from collections.abc import Callable
from dataclasses import dataclass

from qa.readers import captions, instructions, multiple_choice, open_answers
from qa.readers.own import own
from qa.readers.rows import Draft, QuestionFiles, Row
from tools.errors import UserError


@dataclass(frozen=True)
class Benchmark:
    """How the questions of one benchmark are read.

    Attributes:
        read: a row in, a draft of a question out; raises `Rejected`.
        layouts: names of the fields that rows have, parted by blanks, one text a published layout.
        wants: which files it takes, for `--help`.
        rows: the rows of a source, where they are not simply those of its file.
    """

    read: Callable[[Row, QuestionFiles], Draft]
    layouts: tuple[str, ...]
    wants: str
    rows: Callable[[QuestionFiles], list[Row]] = lambda source: source.rows


OPEN_LISTS = ("video_name question question_id", "video_name question answer")
LISTS = "or zero-shot lists: test_q.json with --answers test_a.json, or <set>_qa.json"

BENCHMARKS = {
    "nextqa": Benchmark(
        multiple_choice.nextqa,
        ("video question qid type a0 a1", "video question qid type answer"),
        "val.csv of NExT-QA, or of NExT-OE (open; --answers add_reference_answer_test.json);"
        " --map map_vid_vidorID.json",
    ),
    "star": Benchmark(
        multiple_choice.star, ("question_id question video_id choices start end",), "STAR_val.json"
    ),
    "tvqa": Benchmark(
        multiple_choice.tvqa,
        ("qid q a0 a1 a2 a3 a4 ts vid_name show_name",),
        "tvqa_val.jsonl; --subtitles tvqa_subtitles; videos or folders of pictures, 3 a second",
    ),
    "egoschema": Benchmark(
        multiple_choice.egoschema,
        ("q_uid question", "uid question a0 a1 a2 a3 a4"),
        "questions.json; --answers subset_answers.json keeps the 500 with public answers; --map"
        " uid_to_ego4d.json where the videos are Ego4D's",
    ),
    "mvbench": Benchmark(
        multiple_choice.mvbench,
        ("video question candidates answer",),
        "the folder json/, or one file of it; --video_dir is the folder video/",
        multiple_choice.mvbench_rows,
    ),
    "msrvttqa": Benchmark(
        open_answers.msrvttqa,
        ("id video_id question answer", *OPEN_LISTS),
        f"test_qa.json, {LISTS}",
    ),
    "msvdqa": Benchmark(
        open_answers.msvdqa,
        ("id video_id question answer", *OPEN_LISTS),
        f"test_qa.json, {LISTS}; --map youtube_mapping.txt",
    ),
    "activitynetqa": Benchmark(
        open_answers.activitynetqa, OPEN_LISTS, "test_q.json with --answers test_a.json, or a list"
    ),
    "tgifqa": Benchmark(
        open_answers.tgifqa,
        ("gif_name question answer", *OPEN_LISTS),
        f"Test_frameqa_question.csv and the like, {LISTS}; gifs: --more_extensions gif",
    ),
    "videochatgpt": Benchmark(
        open_answers.videochatgpt,
        ("video_name Q A", "video_name Q1 Q2 A"),
        "generic_qa.json, temporal_qa.json or consistency_qa.json",
        open_answers.videochatgpt_rows,
    ),
    "videoinstruct": Benchmark(
        instructions.videoinstruct,
        ("q a video_id",),
        "VideoInstruct100K.json, or LSTP's train.json",
    ),
    "llava": Benchmark(
        instructions.llava,
        ("conversations",),
        "a list of conversations with video, image or neither",
    ),
    "textvid": Benchmark(
        instructions.textvid,
        ("idx question options answer",),
        "textvid.json; it has no videos",
        instructions.textvid_rows,
    ),
    "msrvtt": Benchmark(
        captions.msrvtt,
        ("video_id captions",),
        "captions: test_videodatainfo.json",
        captions.msrvtt_rows,
    ),
    "vatex": Benchmark(captions.vatex, ("videoID enCap",), "captions: vatex_validation_v1.0.json"),
    "cater": Benchmark(
        multiple_choice.cater,
        ("id question choices answer_idx",),
        "a .jsonl file of CaTeR's public code",
    ),
    "own": Benchmark(
        own,
        ("question",),
        "a csv or JSONL file of one's own; docs/questions.md lists its columns",
    ),
}


def rows_of_benchmark(name: str, source: QuestionFiles) -> list[Row]:
    """The rows of a source, in a layout that the benchmark has.

    Raises:
        UserError: a file cannot be read, or its layout is not known.
    """
    benchmark = BENCHMARKS[name]
    rows = benchmark.rows(source)
    fields = {field for row in rows for field in row}
    layouts = [layout.split() for layout in benchmark.layouts]
    if any(fields.issuperset(layout) for layout in layouts):
        return rows
    wanted = ", or ".join(", ".join(layout) for layout in layouts)
    raise UserError(
        f"{source.file}: the layout is not known as {name}: its rows have"
        f" {', '.join(sorted(map(str, fields))) or 'nothing'}; {name} has {wanted}"
    )
