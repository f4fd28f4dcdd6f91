"""What a user asks first when something does not work: is everything here, whole and quick, and what is to mend?"""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..datasets.errors import ScarlensError, printable

if TYPE_CHECKING:
    from .classifier import Classifier

EXAMPLE: Final = Path(__file__).parent.parent / "datasets" / "rendering" / "examples" / "boxcar.jpg"
"""The photo that ships which is classified; its name is the answer that the checkpoint which ships must give."""

PACKAGES: Final = {
    "torch": "torch",
    "torchvision": "torchvision",
    "cv2": "opencv-python-headless",
    "albumentations": "albumentations",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "onnx": "onnx",
    "PIL": "pillow",
}
"""The modules that nothing works without, and the package to install for each."""

EXTRAS: Final = {"serve": ("fastapi", "uvicorn", "python_multipart"), "ray": ("ray",)}
"""The extras, and the modules that each brings."""

_REPEATS: Final = 10  # predictions, of whose times the median is told: the first is slow

_AGAIN: Final = "install scarlens again, in a new virtual environment"  # by no name: a registry may hold another's

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one subject.

    Attributes:
        subject: what was looked at.
        found: what was found, in one line.
        remedy: how to mend it; None where nothing is wrong.
        facts: the same as plain JSON types, for machines.
    """

    subject: str
    found: str
    remedy: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return the finding as one line of printable characters."""
        verdict, remedy = ("ok", "") if self.remedy is None else ("problem", f"; {self.remedy}")
        return printable(f"{verdict:<8} {self.subject}: {self.found}{remedy}")


@dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which they were made; every subject stands once."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is to mend."""
        return all(finding.remedy is None for finding in self.findings)

    def lines(self) -> list[str]:
        """Return one line for each finding."""
        return [finding.line() for finding in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return the findings by subject as plain JSON types."""
        subjects = {
            finding.subject: {
                "ok": finding.remedy is None,
                "found": finding.found,
                "remedy": finding.remedy,
                **finding.facts,
            }
            for finding in self.findings
        }
        return {"ok": self.ok, **subjects}


def examine(checkpoint: Path | None = None) -> Diagnosis:
    """Look at this installation and at a checkpoint, by default the one that ships; raise nothing that is wrong."""
    owners = metadata.packages_distributions()
    return Diagnosis(
        (
            _python(),
            *(_package(module, wanted, owners) for module, wanted in PACKAGES.items()),
            *(_extra(name, modules) for name, modules in EXTRAS.items()),
            *_safely("cores", _cores),
            *_safely("ONNX Runtime", _providers),
            *_safely("checkpoint", lambda: _checkpoint(checkpoint)),
            *_safely("CUDA", _cuda),  # last: importing torch would slow the others down
        )
    )


def _safely(subject: str, look: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    """Return what is found, or that the installation is too damaged to look: packages are first imported here."""
    try:
        return look()
    except Exception as error:  # a damaged package raises anything
        why = str(error).replace(f"{os.environ.get('HOME', '~')}/", "~/")  # what is shown to helpers names nobody
        return [Finding(subject=subject, found=f"failed with {type(error).__name__}: {why}", remedy=_AGAIN)]


def _python() -> Finding:
    try:
        version = metadata.version("scarlens")
    except metadata.PackageNotFoundError:
        version = "a checkout that is not installed"
    facts = {"version": version, "python": platform.python_version(), "platform": platform.platform()}
    found = f"{version}, Python {facts['python']}, {facts['platform']}"
    return Finding(subject="scarlens", found=found, facts=facts)


def _package(module: str, wanted: str, owners: Mapping[str, list[str]]) -> Finding:
    """Find the version of a module's package without importing it; two packages with one module spoil each other."""
    versions = {name: metadata.version(name) for name in sorted(set(owners.get(module, [])))}
    found = " and ".join(version if name == wanted else f"{name} {version}" for name, version in versions.items())
    remedy = None
    if not versions:
        found, remedy = "not installed", f"pip install {wanted}"
    elif len(versions) > 1:
        found = f"{' and '.join(versions)} are both installed and overwrite each other's files"
        remedy = f"pip uninstall -y {' '.join(versions)}, then pip install {wanted}"
    return Finding(subject=wanted, found=found, remedy=remedy, facts={"versions": versions})


def _extra(name: str, modules: tuple[str, ...]) -> Finding:
    there = all(find_spec(module) for module in modules)
    found = "installed" if there else f'not installed; whoever needs it: pip install ".[{name}]" in the checkout'
    return Finding(subject=f"extra {name}", found=found, facts={"installed": there})


def _cores() -> list[Finding]:
    from .engine import usable_cores

    cores = usable_cores()
    return [Finding(subject="cores", found=f"{cores} usable", facts={"usable": cores})]


def _providers() -> list[Finding]:
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    found = f"{', '.join(providers)} available; prediction takes CPUExecutionProvider"
    return [Finding(subject="ONNX Runtime", found=found, facts={"providers": providers})]


def _cuda() -> list[Finding]:
    # Torch is imported, which takes seconds: it alone knows whether its build and the driver fit each other.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import torch

        there = torch.cuda.is_available()
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if there else []
    why = "".join(f" ({warning.message})" for warning in caught[:1])  # such as a driver that is too old
    found = ", ".join(names) if there else f"torch sees no device{why}: train on the CPU"
    return [Finding(subject="CUDA", found=found, facts={"available": there, "devices": names})]


def _checkpoint(given: Path | None) -> list[Finding]:
    """Load a checkpoint, which checks its seal, and classify the photo that ships."""
    from .classifier import BUNDLED_CHECKPOINT, load

    path = given or BUNDLED_CHECKPOINT
    try:
        classifier, load_ms = _timed(lambda: load(path))
    except ScarlensError as error:
        remedy = "give a file that scarlens train or export wrote" if given else _AGAIN
        return [Finding(subject="checkpoint", found=str(error), remedy=remedy)]
    megabytes = round(path.stat().st_size / 1e6, 1)
    opened = Finding(
        subject="checkpoint",
        found=f"{path}, {megabytes} MB, model {classifier.model_id}, its seal holds, loaded in {load_ms:.0f} ms",
        facts={"path": str(path), "megabytes": megabytes, "model_id": classifier.model_id, "load_ms": load_ms},
    )
    return [opened, *_safely("answer", lambda: _answer(classifier, bundled=given is None))]


def _answer(classifier: Classifier, *, bundled: bool) -> list[Finding]:
    """Classify the photo that ships; only of the checkpoint that ships is it known what it must answer."""
    answers = [_timed(lambda: classifier.predict(EXAMPLE)) for _ in range(_REPEATS)]
    prediction, photo_ms = answers[0][0], round(median(milliseconds for _, milliseconds in answers), 1)
    wrong = bundled and prediction.label != EXAMPLE.stem
    answer = f"{prediction.label or prediction.reason}{f' where {EXAMPLE.stem} is right' if wrong else ''}"
    finding = Finding(
        subject="answer",
        found=f"{answer} for {EXAMPLE.name}, which ships; {photo_ms} ms a photo",
        remedy=_AGAIN if wrong else None,
        facts={"label": prediction.label, "photo_ms": photo_ms},
    )
    return [finding]


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what some work returns, and the milliseconds it takes."""
    started = time.perf_counter()
    return work(), round((time.perf_counter() - started) * 1e3, 1)
