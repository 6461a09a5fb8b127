"""What is read out of models' answers."""

import pytest

from tools.text.answers import (
    clean_response,
    media_or_special_tag,
    parse_clip_caption,
    parse_response,
)

CAPTIONS = {
    "plain": ("A man runs.", "A man runs."),
    "surrounding space": ("\n  A man runs. \n", "A man runs."),
    "last paragraph": ("Clip 2 shows a man.\n\nIt follows.\n\nA man runs.", "A man runs."),
    "windows line ends": ("It follows.\r\n\r\nA man runs.", "A man runs."),
    "a rule at the end": ("It follows.\n\nA man runs.\n\n---\n", "A man runs."),
    "label": ("It follows.\n\nCaption: A man runs.", "A man runs."),
    "lower label": ("caption: A man runs.", "A man runs."),
    "label on its own line": ("It follows.\n\nCaption:\nA man runs.", "A man runs."),
    "label as a paragraph": ("It follows.\n\n**Caption:**\n\nA man runs.", "A man runs."),
    "label after a single line end": ("It follows.\nCaption: A man runs.", "A man runs."),
    "bold label": ("**Caption:** A man runs.", "A man runs."),
    "bold label, colon outside": ("**Caption**: A man runs.", "A man runs."),
    "heading": ("### Detailed Caption\nA man runs.", "A man runs."),
    "numbered": ("2. It follows.\n3. **Detailed caption:** A man runs.", "A man runs."),
    "long label": ("Detailed caption for video clip 2: A man runs.", "A man runs."),
    "announced": ("Here is the caption for the second clip:\nA man runs.", "A man runs."),
    "two lines stay": ("Caption: A man runs.\nHe stops.", "A man runs.\nHe stops."),
    "bold": ("**A man runs.**", "A man runs."),
    "bold inside": ("A **man** runs.", "A man runs."),
    "quotes": ('"A man runs."', "A man runs."),
    "single quotes": ("'A man's hat falls.'", "A man's hat falls."),
    "curly quotes": ("\u201cA man runs.\u201d", "A man runs."),
    "quotes after label": ('**Caption:** "A man runs."', "A man runs."),
    "label inside quotes": ('"Caption: A man runs."', "A man runs."),
    "bold quotes": ('**"A man runs."**', "A man runs."),
    "quotation inside": ('"A sign says "Open" today."', 'A sign says "Open" today.'),
    "quotations at both ends": ('"Open" and "Shut"', '"Open" and "Shut"'),
    "quotation at the end": ('A sign says "Open"', 'A sign says "Open"'),
    "caption as a word": ("Captions: two are seen. A caption says so.",) * 2,
    "clip 2": ("Video clip 2 shows a man.", "This video clip shows a man."),
    "clip 2 inside": ("A man in Video Clip 2 runs.", "A man in this video clip runs."),
    "clip 1": ("As in video clip 1, he runs.", "As in the previous clip, he runs."),
    "clip 1 first": ("Video clip 1 ends. VIDEO CLIP 2 begins.",
                     "The previous clip ends. This video clip begins."),
    "with article": ("The video clip 2 shows the video clip 1's man.",
                     "This video clip shows the previous clip's man."),
    "after a quotation": ('It says "no." Video clip 2 ends.',
                          'It says "no." This video clip ends.'),
    "twelfth clip": ("Video clip 12 is left alone.", "Video clip 12 is left alone."),
    "after a label": ("Caption: video clip 2 shows it.", "This video clip shows it."),
    "empty": ("", ""),
    "only a rule": ("---\n\n", ""),
    "only a label": ("It follows.\n\n**Caption:**", ""),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "caption"), CAPTIONS.values(), ids=CAPTIONS.keys())
def test_the_caption_is_taken_out_of_an_answer(answer, caption):
    assert parse_clip_caption(answer, reasoning=False) == caption


REASONING = {
    "thinking": ("<think>Clip 2?\n\nHm.</think>\n\nA man runs.", "A man runs."),
    "thinking opened by the prompt": ("Clip 2?</think>A man runs.", "A man runs."),
    "thinking twice": ("a</think>b</think>A man runs.", "A man runs."),
    "thinking that never ends": ("<think>Clip 2 shows a man.", ""),
    "boxed": (r"x</think>\boxed{A man runs.}", "A man runs."),
    "boxed caption": ("x</think>It follows.\n\nCaption: \\boxed{A man runs.}", "A man runs."),
    "boxed text": (r"x</think>\boxed{\text{A man runs.}}", "A man runs."),
    "boxed paragraphs": ("x</think>\\boxed{It follows.\n\nA man runs.}", "A man runs."),
    "braces inside": (r"x</think>\boxed{A {man} runs.}", "A {man} runs."),
    "box cut off": (r"x</think>\boxed{A man runs", "A man runs"),
    "no thinking": ("Caption: A man runs.", "A man runs."),
}


@pytest.mark.parametrize(("answer", "caption"), REASONING.values(), ids=REASONING.keys())
def test_reasoning_is_lost_first(answer, caption):
    assert parse_clip_caption(answer, reasoning=True) == caption


def test_a_box_of_a_model_that_does_not_reason_is_its_own_text():
    assert parse_clip_caption(r"A sign: \boxed{1}.", reasoning=False) == r"A sign: \boxed{1}."


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (" The video opens.\n\nThen it ends. ", "The video opens.\n\nThen it ends."),
        ("<think>so\nso</think>\nThe video opens.", "The video opens."),
        ("so</think> The video opens.", "The video opens."),
        ("<think>never done", ""),
    ],
)
def test_a_response_loses_its_thinking(answer, response):
    assert parse_response(answer) == response


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("A <video> of a man", "<video>"),
        ("<image>", "<image>"),
        ("x <AUDIO> y", "<AUDIO>"),
        ("a <ref-object> b <video>", "<ref-object>"),
        ("ends here<|im_end|>", "<|im_end|>"),
        ("<|vision_start|><|video_pad|>", "<|vision_start|>"),
        ("a video of 3 < 4 and a > b", None),
        ("the <b>bold</b> word", None),
        ("if a <| b and c |> d", None),
        ("", None),
    ],
)
def test_tags_that_training_would_take_for_media_are_found(text, tag):
    assert media_or_special_tag(text) == tag


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("The video opens with a cat.", "The video opens with a cat."),
        ("So: the video begins with a cat.", "the video begins with a cat."),
        ("The video opens? No.\nThe video starts with a cat.", "The video starts with a cat."),
        ("The Video Begins with a cat (Caption 1) asleep.", "The Video Begins with a cat asleep."),
        ("The video opens (see captions 2 and 3), then ends (slowly).",
         "The video opens, then ends (slowly)."),
        ("I shall join the captions. A cat sleeps.", None),
        ("The videos open with a cat.", None),
    ],
)  # fmt: skip
def test_a_mimo_response_starts_at_its_last_opening(text, response):
    assert clean_response(text, "mimovl") == response


@pytest.mark.parametrize(
    ("model", "answer", "response"),
    [
        ("qwen2vl7b", "<think>a</think> I join. The video opens.", "I join. The video opens."),
        ("mimovl", "<think>a</think> I join. The video opens.", "The video opens."),
        ("my-MiMo-7b", "I join. A cat sleeps.", None),
        ("mimovl", "<think>a", ""),
    ],
)
def test_how_a_response_is_read_depends_on_the_model_s_name(model, answer, response):
    assert clean_response(answer, model) == response
