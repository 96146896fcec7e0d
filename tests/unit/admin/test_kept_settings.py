"""What a running metergate was told, for commands that come later."""

from pathlib import Path

from admin.config import AdminSettings
from admin.data_folder import prepare
from admin.kept_settings import keep, read
from ledger.setting import Secret
from proxy.config import ProxySettings, UnpricedModels

SECRET = "correct horse battery staple"


def test_what_a_role_was_told_is_known_again(tmp_path: Path) -> None:
    """Guards `metergate doctor` against a shell that knows nothing of a service's unit."""
    assert read(tmp_path / "missing", "proxy") is None
    prepare(tmp_path)
    there = ProxySettings(
        data_dir=tmp_path,
        port=18080,
        engines=("http://127.0.0.1:8000",),
        unpriced_models=UnpricedModels.REFUSE,
        trusted_proxies=("10.0.0.0/8",),
        gap_timeout_seconds=7.5,
    )
    keep(tmp_path, "proxy", there)
    kept = read(tmp_path, "proxy")
    assert kept is not None
    here = ProxySettings(data_dir=tmp_path)
    assert kept.known_to(here) == there
    assert kept.differing(here) == [
        "engines",
        "gap_timeout_seconds",
        "port",
        "trusted_proxies",
        "unpriced_models",
    ]
    assert kept.differing(there) == []
    assert kept.known_to(here, but=frozenset({"port"})).port == here.port


def test_no_secret_is_kept_only_that_it_is_set(tmp_path: Path) -> None:
    """Guards against a second place where secrets lie."""
    prepare(tmp_path)
    url = f"postgresql://me:{SECRET.replace(' ', '')}@db/ledger"
    there = AdminSettings(
        data_dir=tmp_path,
        database_url=url,
        secret_key=Secret(SECRET),
        smtp_url=Secret(f"smtp://me:{SECRET}@mail"),
        smtp_from="a@example.com",
    )
    keep(tmp_path, "admin", there)
    path = tmp_path / "run" / "admin.settings"
    assert "correct" not in path.read_text()
    kept = read(tmp_path, "admin")
    assert kept is not None and kept.hides("database_url")
    here = AdminSettings(data_dir=tmp_path)
    assert kept.known_to(here).database_url == here.database_url, "a URL without its password is of no use"
    assert kept.differing(here) == ["database_url", "secret_key", "smtp_from", "smtp_url"]
    assert kept.differing(there) == []


def test_a_ledger_is_known_from_any_directory(tmp_path: Path) -> None:
    """Guards against a relative path that means another file where the operator stands."""
    prepare(tmp_path)
    keep(tmp_path, "proxy", ProxySettings(data_dir=tmp_path, database_url="sqlite:///some/ledger.db"))
    kept = read(tmp_path, "proxy")
    assert kept is not None
    assert kept.values["database_url"] == f"sqlite:///{Path('some/ledger.db').absolute()}"


def test_what_another_version_kept_is_passed_over(tmp_path: Path) -> None:
    """Guards against a doctor that ends in a traceback after an upgrade."""
    prepare(tmp_path)
    file = tmp_path / "run" / "proxy.settings"
    file.write_text('{"values": {"port": "many", "gone": 1}, "secrets": ["gone_key"]}')
    kept = read(tmp_path, "proxy")
    here = ProxySettings(data_dir=tmp_path)
    assert kept is not None and kept.known_to(here) == here
    file.write_text("[]")
    assert read(tmp_path, "proxy") is None
