"""The temporal grounding bridge: its network, its weights, its spans, and how it is asked."""
