"""`metergate journal inspect`, as the operator on call uses it."""

import shutil
from pathlib import Path

from ledger.journal.segments import worker_folder
from ledger.journal.writer import JournalWriter
from proxy.flight import FlightRecorder
from tests.records import NOON_US, a_record

from .conftest import Cli


def a_journal(data: Path) -> JournalWriter:
    """Two calls wait, one is in flight, and the owner lives."""
    folder = worker_folder(data, 3)
    writer = JournalWriter(folder)
    for _ in range(2):
        writer.append(a_record(end_user="ann@example.org"))
    slot = FlightRecorder(folder, slots=4).take()
    assert slot is not None
    slot.begin(a_record(request_id="req_flying"))
    slot.count(6, 5)
    return writer


def test_what_waits_and_what_is_in_flight_is_shown(cli: Cli, tmp_path: Path) -> None:
    """Guards against a look into a live journal that disturbs it, needs its database, or tells too much."""
    (tmp_path / "data" / "metergate.db").unlink()
    writer = a_journal(tmp_path / "data")
    shown = cli("journal", "inspect")
    (folder,) = shown["folders"]
    assert (folder["folder"], folder["owner"], folder["waiting"], folder["in_flight"]) == (
        "worker-3", "alive", 2, 1,
    )  # fmt: skip
    assert (folder["waiting_tokens"], folder["in_flight_tokens"]) == (30, 11)
    assert folder["posted"] == "0:8" and folder["oldest_seconds"] > 0 and folder["found"] == []
    assert shown["poster"] == {"state": "none", "pid": None} and shown["quarantine"] == []
    assert "waiting_records" not in folder
    (folder,) = cli("journal", "inspect", "--records")["folders"]
    assert [record["prompt_tokens"] for record in folder["waiting_records"]] == [10, 10]
    assert folder["waiting_records"][0]["started_at"].startswith("2026-10-30T12:00:00")
    (flying,) = folder["in_flight_records"]
    assert (flying["request_id"], flying["completion_tokens"]) == ("req_flying", 5)
    assert "ending" not in flying
    assert "ann@example.org" not in cli.run("journal", "inspect", "--records", "--json").stdout
    said = cli.run("journal", "inspect", "--records").stdout.splitlines()
    assert said[0].split("\t")[:3] == ["worker-3", "alive", str(folder["pid"])]
    assert len(said) == 1 + 1 + 2 + 1 + 1 and "req_flying" in said[-1]
    writer.append(a_record(started_us=NOON_US + 1))  # the owner did not notice
    writer.close()


def test_a_copy_is_looked_at_where_it_lies(cli: Cli, tmp_path: Path) -> None:
    """Guards against a copied folder whose dead owner is said to live, and a wrong path that is no fault."""
    writer = a_journal(tmp_path / "data")
    shutil.copytree(tmp_path / "data" / "journal" / "worker-3", tmp_path / "copy")
    writer.close()
    (folder,) = cli("journal", "inspect", "--folder", str(tmp_path / "copy"))["folders"]
    assert (folder["owner"], folder["pid"], folder["waiting"], folder["in_flight"]) == ("none", None, 2, 1)
    (tmp_path / "other").mkdir()
    done = cli.run("journal", "inspect", "--folder", "other")
    assert done.returncode == 1 and "is no journal folder" in done.stderr


def test_damage_is_said_beside_the_table(cli: Cli, tmp_path: Path) -> None:
    """Guards against a damaged journal that looks like any other."""
    a_journal(tmp_path / "data").close()
    (tmp_path / "data" / "journal" / "quarantine").mkdir()
    (tmp_path / "data" / "journal" / "quarantine" / "worker-0-flight-17").write_bytes(b"bytes")
    flight = worker_folder(tmp_path / "data", 3) / "flight"
    flight.write_bytes(b"not a flight recorder")
    done = cli.run("journal", "inspect")
    assert done.returncode == 0
    assert "worker-3: " in done.stderr and "cannot be read" in done.stderr
    assert "quarantine: worker-0-flight-17, 5 bytes" in done.stderr


def test_a_folder_without_journals_is_no_fault(cli: Cli) -> None:
    """Guards against a traceback before the first start."""
    done = cli.run("journal", "inspect")
    assert done.returncode == 0 and "no journals yet" in done.stderr
