"""``--mode convert``: write a checkpoint in our format, the mean of several, or a folder for the Hugging Face hub."""

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analysis.model_card import hub_card, short_path
from analysis.report.runs import Run, read_run
from analysis.report.statements import best_epoch
from engine.checkpoints import KEYS, Opened, open_checkpoint, rebuild, stored_config, stored_texts
from engine.inspect import describe, model_options
from engine.methods import method_named
from engine.optim import running_statistics
from engine.options import Config, options_by_name, value_of
from models.lora import lora_layers, merge_lora
from utils.checkpoint import halve_where_exact, save_checkpoint, save_folder, save_safetensors
from utils.config import flag_of, written
from utils.errors import UserError, about
from utils.hub import CARD, CLASSES, CONFIG, WEIGHTS, is_folder
from utils.json_files import read_json
from utils.runlog import require_new

CONVERTED = (
    *KEYS, "clip_shape", "best", "unnamed", "thresholds", "calibration", "trained_on", "face_width", "averaged",
)  # fmt: skip


def convert(config: Config, flags: dict[str, Any]) -> None:
    """Write the checkpoint in our format: as a torch file of plain tensors and as safetensors, or as a folder for the
    Hugging Face hub."""
    flags = {name: value for name, value in flags.items() if name not in ("format", "license", "merge", "average")}
    if config.run.average:
        opened = average_checkpoints([Path(name) for name in config.run.average], flags, config.run.merge)
        source, content = opened.path, opened.content
    else:
        source = Path(config.run.files[0])
        opened = open_checkpoint(source, flags)
        require_lora_to_merge([opened], config.run.merge)
        content = converted(opened, flags, config.run.merge)
    content = content | {"model": halve_where_exact(content["model"])}
    is_hub = config.video.format == "hub"
    name = name_of(source)
    folder = Path(config.run.output_dir or (f"outputs/hub/{name}" if is_hub else "outputs/converted"))
    names = (WEIGHTS, CLASSES, CARD, CONFIG) if is_hub else (f"{name}.pt", f"{name}.safetensors")
    targets = [folder / name for name in names]
    require_new(folder, targets)
    print(describe(replace(opened, content=content), flags))
    if is_hub:
        write_folder(opened, content, folder, config.video.license)
    else:
        require_plain(content, source)
        save_checkpoint(content, targets[0])
        save_safetensors(content, targets[1])
    print("\n".join(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)" for target in targets))
    if is_hub:
        print(f"upload it   hf upload ORG/NAME {shlex.quote(str(folder))}")


def name_of(path: Path) -> str:
    """Return the name of a checkpoint's folder, also where it is called ``.``, or of its file without the ending."""
    return path.stem if not is_folder(path) else (path.resolve() if path.is_dir() else path).name


def require_lora_to_merge(opened: list[Opened], merges: bool) -> None:
    if merges and not any(lora_layers(checkpoint.content["model"]) for checkpoint in opened):
        raise UserError(f"--merge: {opened[0].path} has no LoRA; leave it out")


def converted(opened: Opened, flags: dict[str, Any], merges: bool) -> dict[str, Any]:
    """Return the content of a checkpoint with all tensors of its model; ``merges``: without LoRA, which is added."""
    if opened.unnamed and not opened.method.takes_any_texts:
        raise UserError(f"{opened.path}: {opened.unnamed}")
    state = opened.load(flags)[1].state_dict()  # so it can be built
    content = {key: value for key, value in opened.content.items() if key in CONVERTED}
    if merges and lora_layers(state):
        state = merge_lora(state, opened.config.optim.lora_alpha)
        optim = content["config"]["optim"]
        usual = {name: options_by_name()[name].default for name in optim if name.startswith("lora_")}
        content["config"] = content["config"] | {"optim": optim | usual}
    return content | {"model": state}


def average_checkpoints(paths: list[Path], flags: dict[str, Any], merges: bool) -> Opened:
    """Return a checkpoint with the mean of the weights of several ones.

    Their scores, thresholds and temperatures are left out, since they belong to other weights.
    """
    opened = [open_checkpoint(path, flags) for path in paths]
    require_lora_to_merge(opened, merges)
    contents = [converted(checkpoint, flags, merges) for checkpoint in opened]
    first, count = contents[0], len(contents)
    if lora_layers(first["model"]):
        raise UserError("--average: the mean of LoRA's factors is not the mean of their products; add --merge")
    constant = constant_tensors(rebuild(first, stored_config(first)))
    for path, content in zip(paths[1:], contents[1:], strict=True):
        if (difference := difference_of_models(first, content, constant)) is not None:
            raise UserError(f"--average {path}: not the model of {paths[0]}: {difference}; leave it out")
    state = dict(first["model"])
    for name in state.keys() - constant:
        tensors = [content["model"][name] for content in contents]
        is_count = not tensors[0].is_floating_point()  # of batches, in batch normalisation
        state[name] = max(tensors) if is_count else (sum(t.double() for t in tensors) / count).to(tensors[0].dtype)
    mean = {name: first[name] for name in (*KEYS, "clip_shape", "unnamed") if name in first}
    mean |= {"model": state, "epoch": max(content["epoch"] for content in contents)}
    epochs = [content["epoch"] for content in contents]
    names = ["/".join(path.parts[-2:]) for path in paths]  # the run folder and the file
    mean["averaged"] = [f"{name}, epoch {epoch}" for name, epoch in zip(names, epochs, strict=True)]
    for key in ("selected_on", "trained_on"):
        if texts := dict.fromkeys(content[key] for content in contents if key in content):
            mean[key] = "; ".join(texts)
    widths = {content.get("face_width") for content in contents}
    if len(widths) == 1 and None not in widths:
        mean["face_width"] = widths.pop()
    return Opened(Path("average.pt"), mean)


def constant_tensors(model: nn.Module) -> set[str]:
    """Return the names of a model's tensors that no training changes: all buffers but those of batch normalisation."""
    buffers = {name for name, _ in model.named_buffers()} & model.state_dict().keys()
    return buffers - running_statistics(model).keys()


def difference_of_models(first: dict[str, Any], second: dict[str, Any], constant: set[str]) -> str | None:
    """Return in what two checkpoints are not of one model; None if they are."""
    for key, title in (("family", "--model"), ("classes", "its classes"), ("label_base", "its first label")):
        if first[key] != second[key]:
            return f"{title} differ{'' if key == 'classes' else 's'}"
    before, now, reads = stored_config(first), stored_config(second), method_named(first["family"]).reads
    for name, field in options_by_name().items():
        is_idle = name.startswith("lora_") and before.optim.lora_rank == now.optim.lora_rank == 0
        is_fixed = field.metadata["checkpoint"] and field.metadata["part"] in (None, *reads)
        if is_fixed and not is_idle and value_of(before, name) != value_of(now, name):
            return f"trained with {flag_of(name)} {written(value_of(now, name))} and not {value_of(before, name)}"
    shapes = [{(name, tensor.shape) for name, tensor in content["model"].items()} for content in (first, second)]
    if different := sorted(name for name, _ in shapes[0] ^ shapes[1]):
        return f"the shape of {different[0]} differs"
    for name in sorted(constant):
        if not torch.equal(first["model"][name], second["model"][name]):
            return f"{name} differs, which training does not change"
    return None


def write_folder(opened: Opened, content: dict[str, Any], folder: Path, licence: str) -> None:
    """Write a checkpoint as a folder that can be published."""
    with about(opened.path):
        options = {group: without_folders(values) for group, values in asdict(stored_config(content)).items()}
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
    return Run(opened.path.parent, name_of(opened.path), "other", values, facts, [], [], None)


def class_texts(opened: Opened) -> dict[str, Any]:
    """Return a classes.json for the classes of a checkpoint, with all that their data set's own one says of them.

    Where they are not those of the data set, or where the user's file is gone, nothing but their names is known.
    """
    names, classes = opened.content["classes"], stored_texts(opened.config.data)
    content = {"classes": []} if classes is None else read_json(Path(classes.source))
    entries = {entry["name"].strip(): entry for entry in content["classes"]}
    if not entries.keys() >= {*names}:
        content, entries = {}, {name: {"name": name} for name in names}
    if sorted(content.get("list_order", names)) != sorted(names):
        del content["list_order"]
    return content | {"label_base": opened.content["label_base"], "classes": [entries[n] | {"name": n} for n in names]}
