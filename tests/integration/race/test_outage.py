"""A short outage under load: what `make outage` shows with an hour of it."""

import pytest

from race.outage.__main__ import outage

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(420)]


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_an_outage_loses_nothing_and_grows_nothing() -> None:
    """Guards against calls of an outage that are lost, doubled or wrongly summed, against memory that grows
    with them, and against new calls that have to wait until the old ones are posted.
    """
    finding = outage(10_000)
    assert finding.violations == [], finding.figures
