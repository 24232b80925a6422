"""Options, data for a run, the loop, evaluation: what main.py calls."""

from utils.command import hide_interrupt

hide_interrupt()
