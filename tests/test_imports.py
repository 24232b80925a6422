"""The structure of the project: imports point down, files stay short, models name no device."""

import ast
import re
from functools import cache
from pathlib import Path

from engine.registry import method_names
from tests.support.tools import ROOT

ROOMS = ("analysis", "apps", "dataloader", "engine", "models", "simulate", "sweep", "utils")
BELOW_ENGINE = {"analysis", "dataloader", "models", "utils"}
MAY_IMPORT = {  # package → packages of ours, besides itself
    "utils": set(),
    "dataloader": {"utils"},
    "models": {"utils"},
    "analysis": {"dataloader", "utils"},
    "engine": BELOW_ENGINE,
    "sweep": BELOW_ENGINE | {"engine"},
    "apps": BELOW_ENGINE | {"engine"},
    "simulate": BELOW_ENGINE | {"engine"},
    "main": BELOW_ENGINE | {"engine", "sweep", "apps", "simulate"},
}
LEVELS = (  # of engine/: a file imports files of its own level and of those before it
    {"registry", "options"},
    {"methods"},
    {
        "checkpoints", "checks", "clip_predict", "config", "data", "device", "epoch_scores", "feature_cache",
        "interrupt", "lists", "loop", "model", "optim", "published", "resume", "run_checkpoints", "run_hash", "series",
        "session", "shared", "step", "video_features", "waiting",
    },
    {"robustness"},
    {"convert", "evaluate", "finished_runs", "inspect", "long_videos", "regress", "train", "zero_shot"},
)  # fmt: skip
FILES = sorted([ROOT / "main.py", *(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))])


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def is_for_types(node: ast.AST) -> bool:
    """Whether a block is read by type checkers alone and never run."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_of(file: Path, with_types: bool = True) -> list[tuple[str, str | None]]:
    """Every import in a file, also inside functions: (module, name). ``Lazy("module")`` counts too."""
    found = []
    parts = tree_of(file).body
    for node in (node for part in parts if with_types or not is_for_types(part) for node in ast.walk(part)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Lazy":
            found.append((node.args[0].value, None))
        if isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            above = file.relative_to(ROOT).parts[:-1][: -node.level + 1 or None] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += [(base, alias.name) for alias in node.names]
    return found


def edges(file: Path) -> set[str]:
    """The modules of this project that a file imports."""
    names = {name for module, part in imports_of(file, with_types=False) for name in (module, f"{module}.{part}")}
    return {name for name in names if name in MODULES} - {module_of(file)}


def test_the_search_finds_the_files_of_the_project():
    assert len(FILES) > 30 and "models.clip_caer" in MODULES
    assert {"models.classifiers"} <= edges(ROOT / "models/clip_caer.py")
    assert "analysis.plots" in edges(ROOT / "engine/train.py")  # inside a function


def test_imports_between_packages_only_point_down():
    upward = {}
    for file in FILES:
        room = module_of(file).partition(".")[0]
        imported = {module.partition(".")[0] for module, _ in imports_of(file)} & {*MAY_IMPORT, "tests", "benchmarks"}
        upward[module_of(file)] = imported - MAY_IMPORT[room] - {room}
    assert not {module: names for module, names in upward.items() if names}


def level_of(module: str) -> int:
    """The level of a module of engine/; every one has one."""
    return next(level for level, names in enumerate(LEVELS) if module.split(".")[1] in names)


def test_imports_inside_the_engine_only_point_down():
    modules = [module for module in MODULES if module.startswith("engine.")]
    pairs = [(module, below) for module in modules for below in edges(MODULES[module]) if below.startswith("engine.")]
    assert len(pairs) > 50 and not [pair for pair in pairs if level_of(pair[1]) > level_of(pair[0])]


def folder_of(module: str) -> str:
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0] or module


def test_no_cycle_between_folders():
    """Files of two folders never import each other in both directions."""
    pairs = {
        (folder_of(module), folder_of(below))
        for module, file in MODULES.items()
        for below in edges(file)
        if folder_of(module) != folder_of(below)
    }
    both_ways = {pair for pair in pairs if pair[::-1] in pairs}
    assert not {pair for pair in both_ways if not any(a.startswith(f"{b}.") for a, b in (pair, pair[::-1]))}


def test_no_wildcard_imports():
    assert not [module_of(file) for file in FILES for _, name in imports_of(file) if name == "*"]


def test_no_cycles():
    graph = {module: edges(file) for module, file in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path, module])
        if module not in done:
            for below in graph[module]:
                visit(below, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_no_file_is_longer_than_500_lines():
    lines = {module_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert lines.pop("engine.options") <= 830  # every option of main.py is in one file
    assert not {module: number for module, number in lines.items() if number > 500}


def test_every_file_starts_with_a_description():
    files = [file for file in FILES if file.read_text(encoding="utf-8").strip()]
    assert not [module_of(file) for file in files if not ast.get_docstring(tree_of(file))]


def test_models_name_no_device_and_no_absolute_path():
    nodes = [(f, node) for f in FILES if module_of(f).startswith("models") for node in ast.walk(tree_of(f))]
    assert len(nodes) > 1000
    for file, node in nodes:
        place = f"{module_of(file)}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute):
            assert node.attr != "cuda", place
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", place
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.match(r"(/\w+/|[A-Za-z]:\\|cuda\b)", node.value), f"{place}: {node.value}"


LAYOUTS = "models.published"  # its names are those of published layouts


def test_no_other_file_compares_method_names():
    names = set(method_names()) - {"sequence"}  # a group of options has this name, too
    files = [f for f in FILES if not module_of(f).startswith("engine.methods") and module_of(f) != LAYOUTS]
    for file, node in [(f, node) for f in files for node in ast.walk(tree_of(f))]:
        if isinstance(node, ast.Compare):
            constants = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            assert not constants & names, f"{module_of(file)}, line {node.lineno}"


def test_only_one_file_of_the_models_imports_openai_clip():
    knowing = [module_of(f) for f in FILES if any(m.partition(".")[0] == "clip" for m, _ in imports_of(f))]
    assert knowing == ["models.clip_backbone"]
