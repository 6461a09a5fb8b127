"""The functions that toy_order.yaml names; lmms-eval loads them in its own environment."""

import re


def doc_to_visual(doc):
    """The video of a question: its path."""
    return [doc["video"]]


def process_results(doc, results):
    """What one answer is worth.

    word_recall is the share of the right event's words that the answer has, a number. order_score
    is kept as lmms-eval's own video tasks keep theirs, with the video that the question is about:
    1 where the answer has more words of the right event than of the wrong one.
    """
    said = set(re.findall(r"\w+", results[0].lower()))
    words = {which: set(re.findall(r"\w+", doc[which])) for which in ("right", "wrong")}
    shared = {which: len(said & words[which]) / len(words[which]) for which in words}
    score = float(shared["right"] > shared["wrong"])
    return {
        "word_recall": shared["right"],
        "order_score": {"videoID": doc["videoID"], "score": score},
    }


def percent_right(results):
    """Percent of the answers that are right."""
    return 100 * sum(one["score"] for one in results) / len(results)
