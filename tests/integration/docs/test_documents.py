"""What exists is documented, and what is documented exists: fields, errors, metrics, commands, links."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from prometheus_client import Counter

from admin import ledger_gauges
from admin.cli.entry import tree
from admin.doctor.finding import Check
from admin.journal_gauges import JournalGauges
from ledger.record import Ending
from ledger.usage import UsageSource
from proxy import metrics
from proxy.docs.document import failures, openapi
from proxy.endpoints import ENDPOINTS, Endpoint
from proxy.errors import RateLimited
from proxy.ledger_gauge import LEDGER_UP
from tests.integration.docs.reading import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMON_OPTIONS = {"--data-dir", "--database-url", "--url", "--admin-key-file", "--json", "--help"}
NAME = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """From a heading to the next one."""
    start = text_of(page).partition(f"\n{heading}\n")[2]
    assert start, f"{page} has no section {heading!r}"
    return re.split(r"^#+ ", start, maxsplit=1, flags=re.MULTILINE)[0]


def rows(table: str) -> list[list[str]]:
    """The rows of the tables in a text, without their heads."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    marks = [index for index, row in enumerate(cells) if all(set(cell) <= set("-:") for cell in row if cell)]
    return [row for index, row in enumerate(cells) if index not in marks and index + 1 not in marks]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree that does something, by its whole name."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            for word, each in below.items():
                yield from walk(f"{name} {word}", each)

    return walk("metergate", typer.main.get_command(tree()))


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.name)
def test_the_table_of_fields_is_the_codes(endpoint: Endpoint) -> None:
    """A field whose policy was changed in the code alone surprises whoever read the page."""
    shown = {
        row[0]: set(NAME.findall(row[1])) for row in rows(section("docs/api.md", f"### {endpoint.path}"))
    }
    table = endpoint.table
    assert shown == {
        "passed": set(table.passed),
        "checked": set(table.checked),
        "left out": set(table.dropped),
        "refused": set(table.refused),
    }


def test_the_table_of_errors_is_the_codes() -> None:
    """Clients are written against status, code, type and the advice on retrying."""
    shown = {(row[0], row[1], row[2], row[3], row[4]) for row in rows(section("docs/api.md", "## Errors"))}
    known = set()
    for status, kinds in failures().items():
        for kind in kinds:
            retry = f"after {kind.retry_after_ms} ms" if kind.retry_after_ms else ""
            retry = "after `retry-after-ms`" if kind is RateLimited else retry
            retry = "`x-should-retry: false`" if kind.should_retry is False else retry
            when = (kind.__doc__ or "").partition("\n")[0]
            types = " or ".join(f"`{each}`" for each in getattr(kind, "types", (kind.type,)))
            known.add((str(status), f"`{kind.code or 'null'}`", types, when, retry))
    assert shown == known


def test_the_table_of_endpoints_is_the_documents() -> None:
    """The page and /openapi.json must not name different paths."""
    shown = {path for row in rows(section("docs/api.md", "## Endpoints")) for path in NAME.findall(row[0])}
    assert shown - {"/docs", "/openapi.json"} == openapi()["paths"].keys()


def test_every_metric_is_documented_with_its_labels(tmp_path: Path) -> None:
    """A dashboard is built from the page; a metric that is not on it is not found."""
    counters = [each for each in vars(metrics).values() if isinstance(each, Counter)]
    known = {f"{counter._name}_total": counter._labelnames for counter in counters} | ledger_gauges.NAMES
    shown = {row[0]: row[1] for row in rows(section("docs/operations.md", "## Metrics"))}
    known["metergate_ledger_up"] = LEDGER_UP._labelnames
    known |= {gauge.name: gauge._labelnames for gauge in JournalGauges(tmp_path, lambda: 0).collect()}
    assert shown.keys() == {f"`{name}`" for name in known}
    for name, labels in known.items():
        for label in labels:
            assert f"`{label}`" in shown[f"`{name}`"]


def test_every_ending_and_source_is_documented() -> None:
    """They stand in exports and metrics; nobody can act on a word that is explained nowhere."""
    shown = {name for row in rows(text_of("docs/metering.md")) for name in NAME.findall(row[0])}
    assert {*map(str, Ending), *map(str, UsageSource)} <= shown


def test_every_check_of_the_doctor_is_documented() -> None:
    """Whoever is woken by its name looks for it on the page."""
    shown = [NAME.findall(row[0])[0] for row in rows(section("docs/operations.md", "## What is wrong"))]
    assert shown == [check.value for check in Check]


def test_every_command_is_documented_with_its_options() -> None:
    """A command that is not on the page, or an option that is gone, costs an operator a wrong try."""
    shown = {
        NAME.findall(row[0])[0]: set(NAME.findall(row[1]))
        for row in rows(text_of("docs/commands.md"))
        if row[0].startswith("`metergate ")
    }
    known = {
        name: {
            option
            for parameter in command.params
            if isinstance(parameter, click.Option) or parameter.param_type_name == "option"
            for option in parameter.opts
            if option not in COMMON_OPTIONS
        }
        for name, command in commands()
    }
    assert shown == known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Pages are renamed; links to them stay behind."""
    missing = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = target.partition("#")[0]
        if not path or "://" in target or path.startswith("/"):
            continue
        if not (page.parent / path).exists():
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    """A misspelt METERGATE_ name copied from a page refuses to start."""
    from admin.cli.settings import SETTINGS  # noqa: PLC0415 (imports both planes' settings)
    from ledger.settings import CONFIG_NAME, INTERNAL_NAMES  # noqa: PLC0415

    known = {name for settings in SETTINGS for name in settings.names()} | INTERNAL_NAMES | {CONFIG_NAME}
    named = set(re.findall(r"\bMETERGATE_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    assert named - known - {"METERGATE_TEST_VLLM", "METERGATE_TEST_VLLM_URLS"} == set()
