"""Accounts that the death of their engine leaves."""

from pathlib import Path
from typing import Any

import pytest

from proxy.simulator.account_file import AccountFile, AccountFileFull, read_accounts
from proxy.simulator.accounts import Account, Ended

TOLD: dict[str, Any] = {
    "request_id": "req_é1",
    "call_id": "chatcmpl-1",
    "endpoint": "/v1/chat/completions",
    "model": "simulated",
    "streamed": True,
}


def fill(account: Account) -> None:
    account.opened(17, lambda _: None)
    account.prompt_tokens, account.cached_prompt_tokens, account.prefilled = 9, 4, True
    account.generated_tokens += 3
    account.chunks_sent += 2


def test_what_is_counted_is_in_the_file_at_once(tmp_path: Path) -> None:
    """Guards against an account that lags behind what was sent: nobody closes the file of a killed engine."""
    path = tmp_path / "accounts"
    account = AccountFile(path).new(**TOLD)
    fill(account)
    (kept,) = read_accounts(path)
    assert kept == {name: value for name, value in account.shown().items() if name not in ("id", "model")}
    assert (kept["generated_tokens"], kept["chunks_sent"], kept["ended"]) == (3, 2, "running")
    account.end(Ended.ABORTED)
    assert read_accounts(path)[0]["ended"] == "aborted"


def test_an_account_in_the_file_is_as_any_other(tmp_path: Path) -> None:
    """Guards against a simulator that counts otherwise where it keeps its accounts."""
    kept, plain = AccountFile(tmp_path / "accounts").new(**TOLD), Account(**TOLD)
    for account in (kept, plain):
        fill(account)
        account.end(Ended.FINISHED)
    assert kept.shown() == plain.shown()


def test_accounts_do_not_mix_and_the_last_slot_is_the_last(tmp_path: Path) -> None:
    """Guards against a call that is counted in another's slot, or in none."""
    path = tmp_path / "accounts"
    file = AccountFile(path, slots=3)
    for number in range(3):
        file.new(**{**TOLD, "request_id": f"r{number}" + "x" * 300}).generated_tokens = number
    with pytest.raises(AccountFileFull):
        file.new(**TOLD)
    accounts = read_accounts(path)
    assert [account["generated_tokens"] for account in accounts] == [0, 1, 2]
    assert [account["request_id"][:2] for account in accounts] == ["r0", "r1", "r2"]
