"""Settings: where they come from, and what a wrong one is told."""

from pathlib import Path

import pytest

from ledger.errors import SettingsRefused
from ledger.setting import Secret, setting
from ledger.settings import LedgerSettings, Settings, check_names, load, pepper


class PortSettings(Settings):
    """A second package's settings."""

    port: int = setting(default=8080, ge=0, le=65535, description="Where.")
    token: Secret | None = setting(default=None, description="Whose.")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_arguments_before_environment_before_file_before_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a flag that the environment overrules."""
    assert load(PortSettings).port == 8080
    Path("metergate.toml").write_text("METERGATE_PORT = 1\n")
    assert load(PortSettings).port == 1
    monkeypatch.setenv("METERGATE_PORT", "2")
    assert load(PortSettings).port == 2
    assert load(PortSettings, port=3).port == 3
    assert load(PortSettings, port=None).port == 2


def test_the_database_is_in_the_data_folder_unless_told_otherwise() -> None:
    """Guards against a second, empty ledger in the working directory."""
    assert load(LedgerSettings, data_dir="/x/y").database_url == "sqlite:////x/y/metergate.db"
    assert load(LedgerSettings).database_url == "sqlite:///data/metergate.db"
    assert load(LedgerSettings, database_url="postgresql://h/d").database_url == "postgresql://h/d"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """Guards against a mistyped limit that silently stays at its default."""
    with pytest.raises(SettingsRefused) as caught:
        check_names(
            [LedgerSettings, PortSettings],
            {"METERGATE_PROT": "1", "PATH": "/bin", "METERGATE_READY_FD": "3"},
            {"data-dirr": "x"},
        )
    assert caught.value.lines == [
        "data-dirr in metergate.toml is no setting of metergate; did you mean METERGATE_DATA_DIR?",
        "METERGATE_PROT in the environment is no setting of metergate; did you mean METERGATE_PORT?",
    ]


def test_a_bad_value_is_said_in_one_line_without_the_value() -> None:
    """Guards against a secret in a log, and against a report of many lines."""
    with pytest.raises(SettingsRefused) as caught:
        check_names(
            [LedgerSettings, PortSettings], {"METERGATE_PORT": "hunter2", "METERGATE_SECRET_KEY": "hunter2"}
        )
    assert len(caught.value.lines) == 2
    assert "METERGATE_PORT" in str(caught.value) and "METERGATE_SECRET_KEY" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsRefused, match="METERGATE_PORT"):
        load(PortSettings, port="eighty")


def test_good_names_pass_in_every_spelling_of_the_file() -> None:
    """Guards against a file that works in one spelling and is refused in another."""
    Path("metergate.toml").write_text('METERGATE_DATA_DIR = "/a"\nport = 9\n')
    check_names([LedgerSettings, PortSettings], {})
    assert str(load(LedgerSettings).data_dir) == "/a"
    assert load(PortSettings).port == 9


@pytest.mark.parametrize("text", ["port = ", "[port]\nx = 1\n", "\xff"])
def test_a_bad_file_is_said(text: str) -> None:
    """Guards against a traceback of the TOML parser."""
    Path("metergate.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsRefused, match=r"metergate\.toml"):
        check_names([PortSettings], {})


def test_a_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against running on defaults because of a mistyped path."""
    monkeypatch.setenv("METERGATE_CONFIG", "/nowhere/metergate.toml")
    with pytest.raises(SettingsRefused, match="METERGATE_CONFIG"):
        load(PortSettings)


def test_settings_never_show_their_secrets() -> None:
    """Guards against a password in a log line that prints the settings."""
    shown = repr(load(LedgerSettings, database_url="postgresql://u:hunter2@h/d", secret_key="hunter2" * 4))
    assert "hunter2" not in shown


def test_the_secret_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """Guards against a second start whose keys all fail, and against a key that others can read."""
    settings = load(LedgerSettings, data_dir=tmp_path / "data")
    first = pepper(settings)
    path = tmp_path / "data" / "secret.key"
    assert len(first) == 32
    assert pepper(settings) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret.key"]


def test_a_given_key_is_used_and_no_file_made(tmp_path: Path) -> None:
    """Guards against a host that makes a key of its own beside the one the others share."""
    one = pepper(load(LedgerSettings, data_dir=tmp_path / "a", secret_key="k" * 32))
    two = pepper(load(LedgerSettings, data_dir=tmp_path / "b", secret_key="k" * 32))
    assert one == two
    assert not (tmp_path / "a").exists()


def test_an_empty_key_file_is_refused(tmp_path: Path) -> None:
    """Guards against hashing every key with nothing."""
    (tmp_path / "secret.key").write_text("\n")
    with pytest.raises(SettingsRefused, match="holds no key"):
        pepper(load(LedgerSettings, data_dir=tmp_path))
