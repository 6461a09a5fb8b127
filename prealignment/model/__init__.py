"""The language model that reads videos, its prompts, and the captions it writes."""
