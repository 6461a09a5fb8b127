"""The wording of a question to an answerer, the same in training, evaluation and chat, and to the
video models that teach a student."""

from collections.abc import Sequence

# Of VideoTGB and Vicuna. In it, earlier turns stand where the question stands, before it.
QUESTION_PROMPT = "USER: {question} ASSISTANT: "
EARLIER_TURN = "{question} ASSISTANT: {answer}</s>USER: "
# Of Video-LLaVA and Chat-UniVi; the frames stand in the place of <video>.
VIDEO_PROMPT = "USER: <video>\n{question} ASSISTANT:"
# Of IDEFICS (instruct): before the frames, and after the question that follows them.
IDEFICS_BEFORE, IDEFICS_AFTER = "User:", ("<end_of_utterance>", "\nAssistant:")


def with_earlier_turns(question: str, conversation: Sequence[Sequence[str]] = ()) -> str:
    """What stands for the question in the prompt.

    Args:
        conversation: [speaker, text] of each earlier turn, a question and an answer by turns.

    >>> with_earlier_turns("And now?", [["human", "What is it?"], ["gpt", "A dog."]])
    'What is it? ASSISTANT: A dog.</s>USER: And now?'
    """
    turns = turns_of(conversation)
    earlier = "".join(EARLIER_TURN.format(question=asked, answer=said) for asked, said in turns)
    return earlier + question


def turns_of(conversation: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """The question and answer of each earlier turn.

    Args:
        conversation: as of `with_earlier_turns`.
    """
    texts = [text for _, text in conversation]
    return list(zip(texts[::2], texts[1::2], strict=True))
