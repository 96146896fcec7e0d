"""Somebody who follows the pages: a metergate started as they say, and a shell to paste into."""

import json
from collections.abc import Iterator

import pytest

from tests.acceptance import running
from tests.integration.docs.reading import Reader, command_folder


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """`metergate up` with the simulator that it starts itself."""
    folder = tmp_path_factory.mktemp("reader")
    with running.metergate((), folder, "--metrics-port", "0") as metergate:
        made = json.loads(metergate.command("key", "create", "--project", metergate.project_id, "--json"))
        yield Reader(metergate, made["id"], command_folder(folder))
