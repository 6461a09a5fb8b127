"""The answerer: BLIP-2 or InstructBLIP, on disk, and as a model that --model names."""
