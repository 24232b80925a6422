"""Describes the machine of a measurement. Every result file stores this description."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """Return platform, processor, cores, versions and the command as it was typed."""
    facts = {
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # more than the cores: other processes ran too; compare only ratios
        "python": platform.python_version(),
        "torch": version("torch"),
        "command": "python -m " + " ".join([module_name(), *map(without_folder, sys.argv[1:])]),
    }
    if torch.device(device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def without_folder(word: str) -> str:
    """Return an absolute path relative to the current folder, or only its name if it is elsewhere."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else f".../{path.name}"


def processor() -> str:
    """Return the name of the processor with its vector and matrix units, which decide the speed of bf16."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in info.read_text(encoding="utf-8").splitlines() if ":" in line)
    values = {key.strip(): value.strip() for key, value in lines.items()}
    units = [unit for unit in ("avx2", "avx512f", "amx_bf16") if unit in values.get("flags", "").split()]
    return f"{values.get('model name', platform.machine())} ({', '.join(units)})"


def module_name() -> str:
    """Return the name of the module that runs as the command."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).stem
