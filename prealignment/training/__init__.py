"""What a training visits, and the trainer."""
