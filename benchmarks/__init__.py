"""What is measured, and the tables made of it: commands, one a module."""

from utils.command import hide_interrupt

hide_interrupt()
