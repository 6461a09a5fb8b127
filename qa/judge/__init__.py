"""The judge: a language model that says whether written answers match the right ones."""
