"""Check an installation: is everything there, intact and fast, and if not, how to fix it."""

from __future__ import annotations

import platform
import re
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
from ..datasets.offline import stay_offline, switched_on

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from .classifier import Classifier

EXAMPLE: Final = Path(__file__).parent.parent / "datasets" / "rendering" / "examples" / "boxcar.jpg"
"""The bundled photo. Its name is the answer that the bundled checkpoint must give."""

EXTRAS: Final = ("serve", "dicom", "ray")
"""The extras that commands need."""

_MODULES: Final = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "pylibjpeg-libjpeg": "libjpeg",
    "pylibjpeg-openjpeg": "openjpeg",
}
"""Modules whose name is not that of the package with underscores."""

TRAINING: Final = (
    *("torch", "torchvision", "albumentations", "onnx", "onnxscript", "scikit-learn", "imagehash", "jinja2"),
    *("pyarrow", "pyyaml", "matplotlib", "tensorboard"),
)
"""Packages that a light install lacks."""

_REPEATS: Final = 10  # predictions, of which the median time counts: the first is slow

_AGAIN: Final = "install scarlens again, in a new virtual environment"

T = TypeVar("T")


@dataclass(frozen=True)
class _Package:
    """An installed package: name, version and modules."""

    name: str
    version: str
    modules: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: what was checked.
        found: what was found, in one line.
        remedy: how to fix it; None if nothing is wrong.
        facts: the result as plain JSON types.
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
    """All findings in order, one per subject."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing needs fixing."""
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
    """Check this installation and a checkpoint, by default the bundled one. Never raises for what it finds."""
    return Diagnosis(
        (
            _python(),
            *_safely("packages", _packages),
            *_safely("cores", _cores),
            *_safely("telemetry", _telemetry),
            *_safely("ONNX Runtime", _providers),
            *_safely("checkpoint", lambda: _checkpoint(checkpoint)),
            *_safely("CUDA", _cuda),  # last: importing torch would slow the others down
        )
    )


def _safely(subject: str, look: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    """Run a check; if a damaged installation makes it fail, return that as the finding."""
    try:
        return look()
    except Exception as error:  # a damaged package raises anything
        why = f"failed with {type(error).__name__}: {_shown(error)}"
        return [Finding(subject=subject, found=why, remedy=_AGAIN)]


def _shown(text: object) -> str:
    """Replace the home folder's path by "~", so that the output can be shared."""
    home = str(Path.home())
    return str(text) if home in ("", "/") else re.sub(rf"(?<![\w.-]){re.escape(home)}(?![\w.-])", "~", str(text))


def _python() -> Finding:
    version = metadata.version("scarlens")
    facts = {"version": version, "python": platform.python_version(), "platform": platform.platform()}
    found = f"{version}, Python {facts['python']}, {facts['platform']}"
    return Finding(subject="scarlens", found=found, facts=facts)


def _packages() -> list[Finding]:
    """Check the required packages and versions, without importing them. Without torch, the install is a light one."""
    installed, light = _installed(), find_spec("torch") is None
    wanted = [requirement for requirement in _required() if not (light and requirement.name in TRAINING)]
    needed = [_package(requirement, installed) for requirement in wanted]
    if light:
        found = "no torch: photos are classified; training needs pip install . in the checkout's folder"
        needed.append(Finding(subject="light install", found=found))
    return [*needed, *(_extra(name, installed) for name in EXTRAS)]


def _required(extra: str = "") -> list[Requirement]:
    """Return the requirements of scarlens or, if named, of an extra."""
    from packaging.requirements import Requirement  # matplotlib brings it

    requirements = [Requirement(line) for line in metadata.requires("scarlens") or ()]
    if not extra:
        return [part for part in requirements if part.marker is None]
    return [part for part in requirements if part.marker is not None and part.marker.evaluate({"extra": extra})]


def _installed() -> list[_Package]:
    """Return the installed packages. A folder without metadata, left by a failed removal, does not count."""
    found: dict[str, _Package] = {}
    for package in metadata.distributions():
        if not (package.read_text("METADATA") or package.read_text("PKG-INFO")):
            continue
        declared = (package.read_text("top_level.txt") or "").split()
        modules = frozenset(declared or (file.parts[0].removesuffix(".py") for file in package.files or ()))
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        found.setdefault(name, _Package(name, package.version, modules))  # Python takes the first
    return sorted(found.values(), key=lambda package: package.name)


def _package(requirement: Requirement, installed: Sequence[_Package]) -> Finding:
    """Check one package. Two packages with the same module break each other."""
    module = _MODULES.get(requirement.name, requirement.name.replace("-", "_"))
    versions = {package.name: package.version for package in installed if module in package.modules}
    wanted = f"pip install '{requirement.name}{requirement.specifier}'"
    found, remedy = " and ".join(versions.values()) or "of an unknown version", None
    if len(versions) > 1:
        found = f"{' and '.join(versions)} are both installed and overwrite each other's files"
        remedy = f"pip uninstall -y {' '.join(versions)}, then {wanted}"
    elif find_spec(module) is None:
        found = "its files are missing" if versions else "not installed"
        remedy = wanted.replace("install", "install --force-reinstall") if versions else wanted
    elif not all(requirement.specifier.contains(version, prereleases=True) for version in versions.values()):
        found, remedy = f"{found}, but {requirement.specifier} is needed", wanted
    return Finding(subject=requirement.name, found=found, remedy=remedy, facts={"versions": versions})


def lacking(extra: str) -> list[str]:
    """Return the packages of an extra that are missing or wrong, each with what is wrong."""
    return _lacking(extra, _installed())


def _lacking(extra: str, installed: Sequence[_Package]) -> list[str]:
    findings = [_package(requirement, installed) for requirement in _required(extra)]
    return [f"{finding.subject} {finding.found}" for finding in findings if finding.remedy]


def _extra(name: str, installed: Sequence[_Package]) -> Finding:
    missing = _lacking(name, installed)
    remedy = f'if you need it: pip install ".[{name}]" in the checkout\'s folder'
    found = f"{', '.join(missing)}; {remedy}" if missing else "installed"
    return Finding(subject=f"extra {name}", found=found, facts={"installed": not missing})


def _cores() -> list[Finding]:
    from .engine import usable_cores

    cores = usable_cores()
    return [Finding(subject="cores", found=f"{cores} usable", facts={"usable": cores})]


def _providers() -> list[Finding]:
    stay_offline()
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    found = f"{', '.join(providers)} available; prediction takes CPUExecutionProvider"
    return [Finding(subject="ONNX Runtime", found=found, facts={"providers": providers})]


def _telemetry() -> list[Finding]:
    on = switched_on()
    found = "off: nothing here calls home" if not on else f"on, because you set {', '.join(on)}"
    return [Finding(subject="telemetry", found=found, facts={"off": not on})]


def _cuda() -> list[Finding]:
    if find_spec("torch") is None:
        return []
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
    """Load a checkpoint, which verifies its digest, and classify the bundled photo."""
    from .classifier import BUNDLED_CHECKPOINT, load

    path = given or BUNDLED_CHECKPOINT
    try:
        classifier, load_ms = _timed(lambda: load(path))
    except ScarlensError as error:
        remedy = "give a file that scarlens train or export wrote" if given else _AGAIN
        return [Finding(subject="checkpoint", found=_shown(error), remedy=remedy)]
    megabytes = round(path.stat().st_size / 1e6, 1)
    shown = _shown(path)
    opened = Finding(
        subject="checkpoint",
        found=f"{shown}, {megabytes} MB, model {classifier.model_id}, digest verified, loaded in {load_ms:.0f} ms",
        facts={"path": shown, "megabytes": megabytes, "model_id": classifier.model_id, "load_ms": load_ms},
    )
    return [opened, *_safely("answer", lambda: _answer(classifier, bundled=given is None))]


def _answer(classifier: Classifier, *, bundled: bool) -> list[Finding]:
    """Classify the bundled photo. The right answer is only known for the bundled checkpoint."""
    answers = [_timed(lambda: classifier.predict(EXAMPLE)) for _ in range(_REPEATS)]
    prediction, photo_ms = answers[0][0], round(median(milliseconds for _, milliseconds in answers), 1)
    wrong = bundled and prediction.label != EXAMPLE.stem
    answer = f"{prediction.label or prediction.reason}{f' where {EXAMPLE.stem} is right' if wrong else ''}"
    finding = Finding(
        subject="answer",
        found=f"{answer} for the bundled {EXAMPLE.name}; {photo_ms} ms per photo",
        remedy=_AGAIN if wrong else None,
        facts={"label": prediction.label, "photo_ms": photo_ms},
    )
    return [finding]


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a function, and its duration in milliseconds."""
    started = time.perf_counter()
    return work(), round((time.perf_counter() - started) * 1e3, 1)
