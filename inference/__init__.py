"""Language models: captioners, and the steps that ask them."""
