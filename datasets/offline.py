"""Switches that keep libraries from calling home. Nothing leaves this machine."""

import os
from collections.abc import Mapping
from typing import Final

SWITCHES: Final[Mapping[str, str]] = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime from 1.29 on sends usage data and keeps a device id in the user's cache
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks PyPI for newer versions
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment variables. Each library reads its own once, when imported; child processes inherit them."""


def stay_offline() -> None:
    """Turn off telemetry and update checks. Call it before importing onnxruntime, albumentations or ray.

    A value set by the user wins.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)


def switched_on() -> list[str]:
    """Return the names of the switches that the user has set to another value."""
    return [name for name, value in SWITCHES.items() if os.environ.get(name, value) != value]
