"""From files to batches: lists, frames, crops, packs, audits; no model here."""

from utils.command import hide_interrupt

hide_interrupt()
