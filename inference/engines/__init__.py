"""The ways to run a chat model."""
