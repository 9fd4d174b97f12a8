"""No setting without a line in the documentation, and no line without its setting."""

import json
from pathlib import Path

from erpo_server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def rows() -> dict[str, tuple[str, str]]:
    """Default and description by variable, from the table under `## Settings`."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Settings\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `ERPO_")]
    return {name.strip("`"): (default.strip("`"), description) for name, default, description in cells}


def test_the_table_says_what_the_settings_are() -> None:
    fields = Settings.model_fields.items()
    expected = {
        f"ERPO_{name.upper()}": (field.default if isinstance(field.default, str) else json.dumps(field.default), field.description)
        for name, field in fields
    }
    assert rows() == expected
