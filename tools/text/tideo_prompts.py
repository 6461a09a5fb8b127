"""What a model is asked for when it is to write a video as text (TOPA, arXiv 2405.13911, whose own
wording is not used here)."""

from tools.text.prompts import Message

FEWEST_FRAMES, MOST_FRAMES = 5, 15  # of a text video, as in TextVID
OPTIONS = 5

TIDEO = """\
Invent a video and write it down as text. The video fits this {kind}: {seed_text}

Choose {fewest} to {most} key frames and give them in the order of time. Of each frame, "caption" \
is one sentence about the scene and what happens in it, and "objects" names the important things \
in it, each with a short phrase that says how it looks or what it does. "global_video_caption" is \
one detailed paragraph about the whole video, from its beginning to its end.

Then write {questions} questions about the video. Each has {options} options without letters, of \
which exactly one is right; the wrong ones are plausible. "answer" is the letter of the right \
option, and "answer_open_ended" gives the answer as a sentence. Some of the questions cannot be \
answered from one frame: they ask for the order of events, for a cause or for a change.

Answer with one JSON object of this shape and with nothing else:
{"frames": [{"caption": "...", "objects": {"name": "phrase", "name": "phrase"}}],
 "global_video_caption": "...",
 "QAs": [{"question": "...", "options": ["...", "...", "...", "...", "..."], "answer": "A",
          "answer_open_ended": "..."}]}"""


def tideo_messages(seed_text: str, kind: str, questions: int) -> list[Message]:
    """Ask for one text video.

    Args:
        seed_text: what the video is about.
        kind: what the seed text is, such as "title of a video".
        questions: how many questions are asked for.
    """
    words = {
        "fewest": FEWEST_FRAMES,
        "most": MOST_FRAMES,
        "questions": questions,
        "options": OPTIONS,
        "kind": kind,
        "seed_text": seed_text,  # the last one: it may hold braces
    }
    text = TIDEO
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", str(value))
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]
