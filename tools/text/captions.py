"""What is asked where a data set of captions is used as one of questions."""

CAPTION_QUESTION = "What happens in this video? Describe it in one sentence."
