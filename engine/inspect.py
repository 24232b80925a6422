"""``--mode inspect``: print what a checkpoint holds. ``--mode convert``: write it as a checkpoint of this project."""

import json
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from analysis.calibration import RAW, stored_calibration
from analysis.model_card import hub_card, short_path
from analysis.report.runs import Run, read_run
from analysis.report.statements import best_epoch
from dataloader.classes import list_classes
from engine.checkpoints import KEYS, Opened, open_checkpoint, rebuild
from engine.options import Config, options_by_name, value_of
from models.clip_backbone import clip_from_content
from models.clip_files import files_of, is_clip, recognise
from models.clip_towers import ClipShape
from models.lora import describe_lora, lora_layers, merge_lora
from utils.checkpoint import (
    halve_where_exact,
    is_checkpoint_folder,
    read_checkpoint,
    save_checkpoint,
    save_folder,
    save_safetensors,
)
from utils.config import flag_of, written
from utils.errors import UserError, about, one_line
from utils.hub import CARD, CLASSES, CONFIG, WEIGHTS, is_folder, local_folder
from utils.json_files import read_json
from utils.runlog import require_new

CONVERTED = (*KEYS, "clip_shape", "best", "unnamed", "thresholds", "calibration", "trained_on", "face_width")


def inspect(config: Config, flags: dict[str, Any]) -> None:
    """Print the method, sizes, classes, texts, keys and options of a checkpoint, or the sizes of a CLIP."""
    path = Path(config.run.files[0])
    place = local_folder(path) if is_folder(path) else path
    is_clip_folder = place.is_dir() and not is_checkpoint_folder(place)
    config_file, weights = files_of(place, str(path)) if is_clip_folder else (None, place)
    content = read_checkpoint(weights)
    if is_clip_folder or is_clip(content):
        options = config.model
        clip = recognise(content, str(path), weights, config_file, options.clip_activation, options.clip_head_width)
        shape = clip_from_content(clip, str(path)).shape
        lines = [str(path), f"family      CLIP alone ({clip.kind}): for --clip-path", describe_towers(shape)]
        for name, value in shape.settings.items():
            lines.append(
                f"setting     {name} {value}, from {clip.origins.get(name, 'the usual value (no file states it)')}"
            )
        print("\n".join(one_line(part) for line in lines for part in line.split("\n")))
        return
    opened = open_checkpoint(path, {"allow_partial": True} | flags)
    with about(path):
        print(f"{path}\n{describe(opened, flags)}")


def convert(config: Config, flags: dict[str, Any]) -> None:
    """Write the checkpoint in our format: as a torch file of plain tensors and as safetensors, or as a folder for the
    Hugging Face hub."""
    source, flags = Path(config.run.files[0]), {n: v for n, v in flags.items() if n not in ("format", "license")}
    opened = open_checkpoint(source, flags)
    if opened.unnamed and not opened.method.takes_any_texts:
        raise UserError(f"{source}: {opened.unnamed}")
    _, model = opened.load({name: value for name, value in flags.items() if name != "merge"})  # it can be built
    content = {key: value for key, value in opened.content.items() if key in CONVERTED}
    state = model.state_dict()
    if config.run.merge:
        if not lora_layers(state):
            raise UserError(f"--merge: {source} has no LoRA; leave it out")
        state = merge_lora(state, opened.config.optim.lora_alpha)
        content["config"] = content["config"] | {"optim": content["config"]["optim"] | {"lora_rank": 0}}
    content["model"] = halve_where_exact(state)
    is_hub = config.video.format == "hub"
    folder = Path(config.run.output_dir or (f"outputs/hub/{source.stem}" if is_hub else "outputs/converted"))
    names = (WEIGHTS, CLASSES, CARD, CONFIG) if is_hub else (f"{source.stem}.pt", f"{source.stem}.safetensors")
    targets = [folder / name for name in names]
    require_new(folder, targets)
    print(describe(opened, flags))
    if is_hub:
        write_folder(opened, content, folder, config.video.license)
    else:
        require_plain(content, source)
        save_checkpoint(content, targets[0])
        save_safetensors(content, targets[1])
    print("\n".join(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)" for target in targets))
    if is_hub:
        print(f"upload it   hf upload ORG/NAME {shlex.quote(str(folder))}")


def write_folder(opened: Opened, content: dict[str, Any], folder: Path, licence: str) -> None:
    """Write a checkpoint as a folder that can be published."""
    with about(opened.path):
        options = {group: without_folders(values) for group, values in asdict(opened.config).items()}
        run = scored_run(opened) or unscored_run(opened, options)
    content = content | {"config": options}
    require_plain(content, opened.path)
    card = hub_card(run, content.get("trained_on"), opened.method, licence, WEIGHTS)
    save_folder(content, class_texts(opened), card, folder)


def require_plain(content: dict[str, Any], source: Path) -> None:
    """Check that all but the tensors can be written as JSON and read again."""
    rest = {key: value for key, value in content.items() if key != "model"}
    try:
        json.dumps(rest, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: cannot be converted: beside its tensors stands no plain data ({error})") from None


def without_folders(values: dict[str, Any]) -> dict[str, Any]:
    """Return options with absolute paths cut to their last part: the folders of a machine are nobody else's concern."""

    def cut(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(cut, value))
        return short_path(value) if value and isinstance(value, str) else value

    return {name: cut(value) for name, value in values.items()}


def scored_run(opened: Opened) -> Run | None:
    """Return the run whose best epoch a checkpoint is; None where no scores of it are known."""
    path = opened.path
    is_complete = all((path.parent / name).is_file() for name in ("config.json", "metrics.json"))
    if path.name != "best.pt" or not is_complete:
        return None
    run = read_run(path.parent)
    epochs = best_epoch(run)  # another one where the run was resumed and stopped since it was scored
    return run if epochs is None or epochs[0] == opened.content["epoch"] else None


def unscored_run(opened: Opened, options: dict[str, dict[str, Any]]) -> Run:
    """Return what a checkpoint says of the run that it comes from. Of a published file most options are not known."""
    values = {name: value for group in options.values() for name, value in group.items()}
    if opened.report is not None:
        values = {name: values[name] for name in model_options(opened)}
    facts = {"classes": opened.content["classes"], "selected_on": opened.content["selected_on"]}
    return Run(opened.path.parent, opened.path.stem, "other", values, facts, [], [], None)


def class_texts(opened: Opened) -> dict[str, Any]:
    """Return a classes.json for the classes of a checkpoint, with all that their data set's own one says of them.

    Where they are not those of the data set, or where the user's file is gone, nothing but their names is known.
    """
    names, data = opened.content["classes"], opened.config.data
    is_gone = data.class_texts is not None and not Path(data.class_texts).is_file()
    classes = None if is_gone else list_classes(data.dataset, data.class_texts)
    content = {"classes": []} if classes is None else read_json(Path(classes.source))
    entries = {entry["name"].strip(): entry for entry in content["classes"]}
    if not entries.keys() >= {*names}:
        content, entries = {}, {name: {"name": name} for name in names}
    if sorted(content.get("list_order", names)) != sorted(names):
        del content["list_order"]
    return content | {"label_base": opened.content["label_base"], "classes": [entries[n] | {"name": n} for n in names]}


def describe(opened: Opened, flags: dict[str, Any]) -> str:
    """Return the lines of ``--mode inspect`` on a checkpoint."""
    content, method, report = opened.content, opened.method, opened.report
    title = f"{content['family']} (a checkpoint of this project)"
    if report is not None:
        keys = sum(map(len, (report.loaded, report.dropped, report.unexpected, report.unsupported)))
        title = f"{method.published[report.family].title} (published layout, {keys} keys)"
    lines = [
        f"family      {title}",
        f"trained     {content['epoch'] or 'an unknown number of'} epochs; best by: {content['selected_on']}",
    ]
    if note := one_line(content.get("trained_on", "")):
        lines.append(f"            on a data set with this note: {note}")
    if width := content.get("face_width"):
        lines.append(f"            on faces around {width:.0f} pixels wide")
    if method.reads_features:
        lines += method.describe(rebuild(content, opened.config), opened.config, content)
    else:
        lines.append(describe_towers(opened.shape))
        sizes = opened.shape.as_dict()
        lines += [f"setting     {name} {sizes[name]}, stored" for name in opened.shape.settings if name in sizes]
    if correction := describe_lora(content["model"]):
        lines.append(f"LoRA        {correction}, --lora-alpha {opened.config.optim.lora_alpha:g}")
    if "left_out" in content:
        lines.append(
            f"towers      not in the file: {', '.join(sorted(content['left_out']))} of --clip-path "
            f"{opened.config.model.clip_path}"
        )
    numbers = sum(tensor.numel() for tensor in content["model"].values())
    lines += [
        f"tensors     {len(content['model'])}, {numbers / 1e6:.2f} M numbers",
        f"classes     {len(content['classes'])}: {', '.join(content['classes'])}",
    ]
    if opened.unnamed:
        lines.append(f"            {opened.unnamed}")
    if (calibration := stored_calibration(content, opened.path)) != RAW:
        fitted = f"fitted on {calibration.clips} {calibration.fitted_on} clips"
        lines.append(f"temperature {calibration.temperature:.3f}, {fitted}")
    if report is not None:
        lines.append(describe_published(opened, flags))
    else:
        lines += [f"option      {flag_of(n)} {written(value_of(opened.config, n))}" for n in model_options(opened)]
    return "\n".join(one_line(part) for line in lines for part in line.split("\n"))


def describe_towers(shape: ClipShape) -> str:
    image = (
        f"image tower {shape.image_width} wide, {shape.image_layers} blocks, patches of {shape.patch_size}, "
        f"pictures of {shape.image_size}, features of {shape.embed_dim}"
    )
    text = f"{shape.text_width} wide, {shape.text_layers} blocks" if shape.text_layers else "none"
    return f"{image}\ntext tower  {text}"


def describe_published(opened: Opened, flags: dict[str, Any]) -> str:
    """Return lines on recovered texts, on what became of every key, and on options that the tensors do not show."""
    report, config = opened.report, opened.config
    lines = [f"prompt      {text}" for text in report.prompts]
    lines += [f"descriptive {text}" for text in report.descriptive]
    lines.append(f"keys        {len(report.loaded)} loaded")
    dropped = Counter(f"{key.split('.')[0]}.* ({reason})" for key, reason in report.dropped.items())
    lines += [f"            {count} dropped: {keys}" for keys, count in dropped.items()]
    for title, keys in (
        ("missing", report.missing),
        ("unexpected", report.unexpected),
        ("unequal copies", report.differing),
        ("layers that do not exist here", report.unsupported),
    ):
        lines.append(f"            {len(keys)} {title}" + (f": {', '.join(keys)}" if keys else ""))
    lines.append("run with    (not in the tensors: from the published recipe or from your flags)")
    for name in opened.method.unknown_to_tensors():
        value = value_of(config, name)
        if value is not None:
            lines.append(f"            {flag_of(name)} {value}" + ("   (yours)" if name in flags else ""))
    if config.model.slerp_weight > 0 and not report.descriptive:
        lines.append("            (no hand-written texts in it: IEC uses the class texts without context vectors)")
    if config.data.crop_body is None and config.model.streams == "both":
        lines.append("            context: the body box where --bounding-box-body is given")
    return "\n".join(lines)


def model_options(opened: Opened) -> list[str]:
    """Return the names of the options that the model was built with or is evaluated with."""
    return [
        name
        for name, field in options_by_name().items()
        if field.metadata["part"] in opened.method.reads
        and (field.metadata["in_hash"] or value_of(opened.config, name) != field.default)
        and (field.metadata["checkpoint"] or ("eval" in field.metadata["modes"] and not field.metadata["free"]))
    ]
