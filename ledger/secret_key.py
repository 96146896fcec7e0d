"""The pepper: what API keys are hashed with, from METERGATE_SECRET_KEY or the data folder's secret.key.

secret.key is made on first start, mode 0600, by linking a finished file into place: of two processes that
start together one wins, and neither can read a half-written key. Whoever loses it loses every key's digest:
`refuse_new` keeps a start from making another one beside a ledger that has keys.
"""

import contextlib
import hmac
import os
import secrets
from pathlib import Path

from ledger.errors import SettingsRefused
from ledger.settings import LedgerSettings

FILE_NAME = "secret.key"
KEY_CHARS_MIN = 16


def pepper(settings: LedgerSettings) -> bytes:
    """The 32 bytes for keys.digest. Raises SettingsRefused when the file cannot be read or made."""
    if settings.secret_key is not None:
        secret = settings.secret_key.get_secret_value()
    else:
        secret = _file_secret(settings.data_dir / FILE_NAME)
    # One secret may come to serve more than one purpose: each gets a key of its own.
    return hmac.digest(secret.encode(), b"metergate api key digests, version 1", "sha256")


def existing_pepper(settings: LedgerSettings) -> bytes | None:
    """As `pepper`, for who only looks: None where there is no secret yet, and none is made."""
    if settings.secret_key is None and not (settings.data_dir / FILE_NAME).exists():
        return None
    return pepper(settings)


def check_digest(pepper: bytes) -> bytes:
    """What the ledger keeps to tell this pepper from another: nothing of the pepper can be worked out of
    it.
    """
    return hmac.digest(pepper, b"metergate secret check, version 1", "sha256")


def refuse_new(settings: LedgerSettings) -> None:
    """To be called where the ledger has keys already.

    Raises SettingsRefused where their secret is gone or cannot be read.
    """
    path = settings.data_dir / FILE_NAME
    if settings.secret_key is None and not path.exists():
        raise SettingsRefused(
            [
                f"{path} is gone, and no API key of this ledger is valid without it: restore it, or set "
                "METERGATE_SECRET_KEY to what it held; to give up every key, write a new secret into it"
            ]
        )
    pepper(settings)


def _file_secret(path: Path) -> str:
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path)
        return _read(path)
    except OSError as error:
        raise SettingsRefused([f"cannot read or make {path}: {error.strerror}"]) from error


def _read(path: Path) -> str:
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if len(secret) < KEY_CHARS_MIN:
        raise SettingsRefused(
            [f"{path} holds no key: restore it, or remove it if no API key was ever issued"]
        )
    return secret


def _create(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_urlsafe(48).encode() + b"\n")
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.close(descriptor)
        draft.unlink()
