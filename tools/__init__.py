"""What every method stands on: data, steps, video, text, pairs and training; no language model."""

from tools.interruption import report_interrupts

report_interrupts()  # before any slow import: whatever a script imports of this repository needs it
