"""The laptop-scale reproduction: a tiny video LLM, the arms of the experiment, its claims."""
