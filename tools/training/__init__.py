"""Stage 5: recipes, checks and the chain of stages."""
