"""The arms of TEMPLE's reproduction, and what they show."""
