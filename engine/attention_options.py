"""Options of --mode attention."""

from dataclasses import dataclass

from utils.config import option


@dataclass(frozen=True)
class AttentionOptions:
    clips: tuple[str, ...] = option(
        (), "which clips of --test-annotation are explained: paths as listed; default: one a class", metavar="CLIP"
    )
    explain: str = option("predicted", "the class looked for: predicted, label, or its name", metavar="CLASS")
