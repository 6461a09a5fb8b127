"""The viewer, and pictures of videos and pairs."""
