"""From files to batches: lists, frames, crops, packs and audits. Nothing here uses a model."""

from utils.command import hide_interrupt

hide_interrupt()
