"""docs/configuration.md says every setting there is."""

from pathlib import Path

from admin.cli.settings import SETTINGS
from admin.configuration_page import page, sections

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_what_the_settings_say() -> None:
    """A setting that is added, renamed or given another default fails here until the page is made anew."""
    assert DOCUMENT.read_text() == page(sections()), (
        "run: python -m admin.configuration_page > docs/configuration.md"
    )


def test_every_setting_has_a_row_and_a_description() -> None:
    text = page(sections())
    for settings in SETTINGS:
        for name, field in settings.declared().items():
            assert text.count(f"| `METERGATE_{name.upper()}` |") == 1, name
            assert field.rules.description, name
