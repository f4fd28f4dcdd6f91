"""Filling the templates that stand beside the code: pages and the model card."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def filled(template: Path, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]] | None = None) -> str:
    """Return a Jinja template with its values; a value that is missing is an error.

    Args:
        template: a file; in one named `.html.j2` every text is escaped, and the last line's end is left out.
        values: what the template names.
        filters: what it may write values with, besides Jinja's own.
    """
    from jinja2 import Environment, StrictUndefined

    page = template.name.endswith(".html.j2")
    environment = Environment(
        autoescape=page, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=not page
    )
    environment.filters |= filters or {}
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)
