"""Whose a key was: the spans that triggers keep, and usage told by them, on both databases."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from ledger import tenancy
from ledger.bucket_reports import CallFilter, usage_buckets
from ledger.buckets import BucketWidth
from ledger.database import Database
from ledger.ids import id_at
from ledger.periods import DAY_US, HOUR_US
from ledger.posting import post
from ledger.record import CallRecord
from ledger.tables import ApiKey, KeyOwnership
from ledger.terms import Terms
from tests.records import NOON_US, a_record

FIRST_US = NOON_US - NOON_US % DAY_US - 4 * DAY_US
"""The first of five days."""
MOVED_US = FIRST_US + 2 * DAY_US + 7 * HOUR_US
"""When ann's key becomes bob's."""
NAMES = ("project_id", "user_id", "api_key_id", "model")
BY = [by for size in range(5) for by in itertools.combinations(NAMES, size) if "user_id" in by]


async def make_keys(database: Database, count: int) -> list[ApiKey]:
    async with database.write() as session:
        tenant = await tenancy.create_tenant(session, "t", 1)
        projects = [await tenancy.create_project(session, tenant.id, name, 1) for name in "ab"]
        return [
            (await tenancy.create_api_key(session, b"pepper", projects[number % 2].id, "k", 1))[0]
            for number in range(count)
        ]


async def give(database: Database, key: ApiKey, user_id: str | None) -> None:
    async with database.write() as session:
        give = text("UPDATE api_key SET user_id = :user_id WHERE id = :id")
        await session.execute(give, {"user_id": user_id, "id": key.id})


async def spans(database: Database, key: ApiKey) -> list[Any]:
    query = text(
        "SELECT user_id, from_us, until_us FROM key_ownership WHERE api_key_id = :id ORDER BY from_us"
    )
    async with database.read() as session:
        return [tuple(row) for row in await session.execute(query, {"id": key.id})]


async def test_every_change_of_owner_leaves_a_span(database: Database) -> None:
    """Guards against an owner who is forgotten: whoever writes `api_key`, the database remembers."""
    made, given = await make_keys(database, 2)
    assert await spans(database, made) == []
    async with database.write() as session:
        clone = {**made.model_dump(), "id": "key_anns", "digest": b"d", "user_id": "user-ann"}
        session.add(ApiKey(**clone))
    assert await spans(database, ApiKey(**clone)) == [("user-ann", 0, None)]
    await give(database, given, "user-ann")
    await give(database, given, "user-ann")
    ((owner, first_us, end_us),) = await spans(database, given)
    assert (owner, end_us) == ("user-ann", None) and first_us > NOON_US
    async with database.write() as session:
        await session.execute(text("UPDATE key_ownership SET from_us = 5 WHERE from_us > 5"))
    await give(database, given, "user-bob")
    await give(database, given, None)
    ann, bob = await spans(database, given)
    assert ann[:2] == ("user-ann", 5) and ann[2] == bob[1]
    assert bob[0] == "user-bob" and bob[1] <= bob[2]
    async with database.write() as session:  # a new use of the key is no change of owner
        await session.execute(text("UPDATE api_key SET last_used_us = 9"))
    assert await spans(database, given) == [ann, bob]


async def test_owners_of_before_the_migration_count_from_the_beginning(database: Database) -> None:
    """Guards against an upgrade after which last month's usage is nobody's."""
    key, _ = await make_keys(database, 2)
    await give(database, key, "user-ann")
    await database.downgrade("0013")
    await database.upgrade()
    assert await spans(database, key) == [("user-ann", 0, None)]


async def a_book(database: Database) -> tuple[list[ApiKey], list[CallRecord]]:
    """Five days of calls with keys of a service account, of ann, of bob since midway, of ann until midway."""
    keys = await make_keys(database, 4)
    owners = (
        (1, "user-ann", 0, None),
        (2, "user-bob", MOVED_US, None),
        (3, "user-ann", 0, MOVED_US),
        (3, "user-cy", MOVED_US, MOVED_US + HOUR_US),  # for an hour, at no day's end
        (3, "user-bob", MOVED_US + HOUR_US, None),
    )
    starts = [FIRST_US + number * 5 * HOUR_US + number for number in range(24)]
    starts += [MOVED_US - 1, MOVED_US, MOVED_US + HOUR_US // 2, MOVED_US + HOUR_US]
    records = [
        a_record(
            request_id=f"{id_at(started_us)}{number * 4 + place:018x}",
            started_us=started_us,
            ended_us=started_us + 1,
            tenant_id=key.tenant_id,
            project_id=key.project_id,
            api_key_id=key.id,
            model=("tiny", "large")[number % 2],
            prompt_tokens=100 + number,
        )
        for number, started_us in enumerate(starts)
        for place, key in enumerate(keys)
    ]
    async with database.write() as session:
        session.add_all(
            KeyOwnership(
                api_key_id=keys[place].id,
                tenant_id=keys[place].tenant_id,
                user_id=user_id,
                from_us=from_us,
                until_us=until_us,
            )
            for place, user_id, from_us, until_us in owners
        )
        await post(await session.connection(), records, Terms(), NOON_US)
    return keys, records


def user_of(record: CallRecord, keys: Sequence[ApiKey]) -> str | None:
    """By the end of the call's day."""
    is_after = record.started_us - record.started_us % DAY_US + DAY_US > MOVED_US
    place = [key.id for key in keys].index(record.api_key_id)
    return (None, "user-ann", "user-bob" if is_after else None, "user-bob" if is_after else "user-ann")[place]


@pytest.mark.parametrize("width", BucketWidth)
async def test_usage_is_told_by_who_owned_the_key_at_the_end_of_the_day(
    database: Database, width: BucketWidth
) -> None:
    """Guards against a key that is given away with its past, a call of two users or of none, and hours that
    do not add up to their day.
    """
    keys, records = await a_book(database)
    from_us, until_us = FIRST_US + 90 * 60_000_000, FIRST_US + 5 * DAY_US
    if width is BucketWidth.MINUTE:
        from_us, until_us = MOVED_US - HOUR_US, MOVED_US + 2 * HOUR_US
    questions: list[tuple[Any, Any, Any]] = [(by, None, None) for by in (*BY, BY[-1][::-1])]
    for by in ((), ("user_id", "model"), ("api_key_id", "user_id")):
        questions += [
            (by, users, None) for users in (["user-bob"], ["user-ann", "user-bob"], ["user-cy"], [])
        ]
        questions += [(by, ["user-ann"], [keys[3].id]), (by, None, [keys[2].id])]
    async with database.read() as session:
        for by, user_ids, key_ids in questions:
            wanted = CallFilter(
                keys[0].tenant_id, from_us, until_us, api_key_ids=key_ids, user_ids=user_ids, embeddings=False
            )
            read = await usage_buckets(session, wanted, width, by)
            expected: dict[Any, Counter[str]] = {}
            for record in records:
                user_id = user_of(record, keys)
                if not from_us <= record.started_us < until_us:
                    continue
                if (user_ids is not None and user_id not in user_ids) or (
                    key_ids is not None and record.api_key_id not in key_ids
                ):
                    continue
                names = (user_id if name == "user_id" else getattr(record, name) for name in by)
                key = (record.started_us - record.started_us % width.us, *names)
                expected.setdefault(key, Counter()).update(calls=1, tokens=record.prompt_tokens)
            found = {
                (bucket_us, *group): Counter(calls=counts.calls, tokens=counts.prompt_tokens)
                for bucket_us, group, counts in read.groups
            }
            assert found == expected, (by, user_ids, key_ids)
            assert read.until_us == until_us and len(found) == len(read.groups)


async def test_a_tenant_without_users_has_none_to_tell(database: Database) -> None:
    """Guards against calls that are lost, or found, for want of an owner."""
    keys = await make_keys(database, 2)
    records = [
        a_record(
            tenant_id=key.tenant_id,
            project_id=key.project_id,
            api_key_id=key.id,
            request_id=f"{id_at(NOON_US)}{number:018x}",
        )
        for number, key in enumerate(keys)
    ]
    async with database.write() as session:
        await post(await session.connection(), records, Terms(), NOON_US)
    wanted = CallFilter(keys[0].tenant_id, NOON_US, NOON_US + DAY_US)
    of_ann = CallFilter(keys[0].tenant_id, NOON_US, NOON_US + DAY_US, user_ids=["user-ann"])
    async with database.read() as session:
        for by in BY:
            read = await usage_buckets(session, wanted, BucketWidth.DAY, by)
            assert {group[by.index("user_id")] for _, group, _ in read.groups} == {None}
            assert sum(counts.calls for _, _, counts in read.groups) == 2
            assert not (await usage_buckets(session, of_ann, BucketWidth.DAY, by)).groups
