"""How toyvl, the tiny video model, is built and trained."""
