"""Commands that measure speed and scores, their helpers, and the tables made from the results."""

from utils.command import hide_interrupt

hide_interrupt()
