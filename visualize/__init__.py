"""The viewer of preference pairs."""
