"""Jinja templates: pages, reports and the model card."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def filled(template: Path, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]] | None = None) -> str:
    """Render a Jinja template. A missing value is an error.

    Args:
        template: template file. In `.html.j2` files all text is escaped and the final newline is dropped.
        values: values of the template's variables.
        filters: additional Jinja filters.
    """
    from jinja2 import Environment, StrictUndefined

    page = template.name.endswith(".html.j2")
    environment = Environment(
        autoescape=page, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=not page
    )
    environment.filters |= filters or {}
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)
