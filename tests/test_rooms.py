"""The rooms of the house: what may import what, and how many modules a folder holds."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("datasets", "model", "inference", "training")
FOLDERS = sorted({file.parent for floor in FLOORS for file in (ROOT / floor).rglob("*.py")})


def runtime_imports(file: Path) -> Iterator[Path]:
    """Return the modules of this project that a module imports when it runs, also within its functions."""
    nodes: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            place = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        elif node.module and node.module.startswith("scarlens."):
            place = ROOT.joinpath(*node.module.split(".")[1:])
        else:
            continue
        for found in (place.with_suffix(".py"), *(place / f"{alias.name}.py" for alias in node.names)):
            if found.is_file():
                yield found


IMPORTS = {file: set(runtime_imports(file)) for folder in FOLDERS for file in folder.glob("*.py")}


def floor_of(file: Path) -> int:
    return FLOORS.index(file.relative_to(ROOT).parts[0])


def test_modules_import_each_other_in_no_circle() -> None:
    assert sum(map(len, IMPORTS.values())) > 200
    TopologicalSorter(IMPORTS).prepare()  # raises CycleError, with the circle


def test_floors_import_only_what_is_below_them() -> None:
    doors = {ROOT / "cli.py"}  # scripts run by path go through it
    upward = [(a, b) for a, below in IMPORTS.items() for b in below - doors if floor_of(b) > floor_of(a)]
    assert upward == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_holds_at_most_nine_modules_and_says_what_it_does(folder: Path) -> None:
    assert len([file for file in folder.glob("*.py") if file.name != "__init__.py"]) <= 9
    init = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(init)
