"""``--mode compare RUN_A RUN_B`` and ``--mode report RUN...``: what folders of finished runs say."""

from dataclasses import asdict
from typing import Any

from engine.families import family_defaults
from engine.options import Config, defaults
from utils.runlog import open_run, safe_name

NO_RESULT = frozenset({  # options that change no result, for a comparison
    "output_dir", "resume", "exper_name", "files", "workers", "print_freq", "dry_run", "save_every_minutes", "ci",
    "abstain", "mistake_frames",
})  # fmt: skip
NOT_REPORTED = frozenset({  # options that a report need not list: of the place, not of the method
    "files", "output_dir", "exper_name", "mode", "workers", "device", "gpu", "resume", "print_freq", "cache_dir",
    "mistake_frames", "save_every_minutes", "dry_run",
})  # fmt: skip


def compare(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Compare two run folders; write and print the comparison in a folder of its own."""
    from analysis.compare import compare_folders, write_comparison

    comparison = compare_folders(config.run.files, config.results.ci, NO_RESULT)
    log = open_run(config.run.output_dir, safe_name(given.get("exper_name", "compare")), asdict(config))
    try:
        return write_comparison(log, comparison)
    finally:
        log.close()


def report(config: Config, given: dict[str, Any]) -> None:
    """Write ``report.html`` and ``report.md`` about run folders, and print where they are."""
    from analysis.report.sections import OptionFacts
    from analysis.report.write import write_report

    options = OptionFacts(defaults(), NOT_REPORTED, differing_options)
    with_pictures = config.results.mistake_frames
    folder = config.run.output_dir
    for path in write_report(config.run.files, output_dir=folder, with_pictures=with_pictures, options=options):
        print(path)


def differing_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run that differ from the defaults of its method."""
    usual = defaults() | family_defaults(options.get("model") or "")
    usual = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    filled_in = {"lr_fusion": options.get("lr"), "normalize": "none", "crop_body": False}  # where not given
    return {
        name: value
        for name, value in options.items()
        if name not in NOT_REPORTED
        and value != usual.get(name)
        and not (usual.get(name) is None and value == filled_in.get(name))
    }
