"""VideoTGB and LSTP-Chat: choose the frames that answer a question."""
