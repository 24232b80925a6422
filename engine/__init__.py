"""One run: options, data, models, training loop and evaluation. ``main.py`` calls this package."""

from utils.command import hide_interrupt

hide_interrupt()
