"""``--mode compare RUN_A RUN_B`` and ``--mode report RUN...``, which read the folders of finished runs."""

from dataclasses import asdict
from typing import Any

from engine.methods import method_named
from engine.options import Config, defaults, names_with
from engine.registry import method_names
from utils.runlog import open_run, safe_name


def compare(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Compare two run folders; print the comparison and write it into a new folder."""
    from analysis.compare import compare_folders, write_comparison

    comparison = compare_folders(config.run.files, config.results.ci, frozenset(names_with(affects_results=False)))
    log = open_run(config.run.output_dir, safe_name(flags.get("exper_name", "compare")), asdict(config))
    try:
        return write_comparison(log, comparison)
    finally:
        log.close()


def report(config: Config, flags: dict[str, Any]) -> None:
    """Write ``report.html`` and ``report.md`` about run folders, and print where they are."""
    from analysis.report.sections import OptionFacts
    from analysis.report.write import write_report

    options = OptionFacts(defaults(), frozenset(names_with(affects_results=False)), differing_options)
    with_pictures = config.results.mistake_frames
    folder = config.run.output_dir
    for path in write_report(config.run.files, output_dir=folder, with_pictures=with_pictures, options=options):
        print(path)


def differing_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run that differ from the defaults of its method."""
    model = options.get("model")  # a run of a later version may name a method that this one does not have
    usual = defaults() | dict(method_named(model).defaults if model in method_names() else {})
    hidden = names_with(affects_results=False)
    usual = {name: list(value) if isinstance(value, tuple) else value for name, value in usual.items()}
    filled_in = {"lr_fusion": options.get("lr"), "normalize": "none", "crop_body": False}  # dependent defaults
    return {
        name: value
        for name, value in options.items()
        if name not in hidden
        and value != usual.get(name)
        and not (usual.get(name) is None and value == filled_in.get(name))
    }
