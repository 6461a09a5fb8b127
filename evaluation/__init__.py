"""What a model knows about time: the toy benchmark, and public ones."""
