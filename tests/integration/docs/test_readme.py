"""What README.md tells people to paste works, as it stands there.

Each block runs as a process of its own against `metergate up`, with the simulator that it starts itself.
Only what differs from machine to machine is put in: the address, the key, and the ids written as `org-...`,
`proj_...`, `key_...`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance import running
from tests.acceptance.running import Metergate
from tests.integration.docs.reading import ROOT, Block, blocks

README = blocks("README.md")
RUN = [block for block in README if block.language in ("python", "sh") and block.is_run]
VLLM_FLAG = re.compile(r"--[a-z]+(?:-[a-z]+)*")


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who follows the README: a running metergate, an id to put in, where `metergate` is found."""

    metergate: Metergate
    key_id: str
    bin: Path

    def paste(self, block: Block, folder: Path) -> str:
        """What the block prints. Fails when it does."""
        text = block.text.replace("http://127.0.0.1:8080", self.metergate.base_url.removesuffix("/v1"))
        for written, meant in (
            ("sk-mg-...", self.metergate.api_key),
            ("org-...", self.metergate.tenant_id),
            ("proj_...", self.metergate.project_id),
            ("key_...", self.key_id),
        ):
            text = text.replace(written, meant)
        shell = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            [sys.executable, "-c", text] if block.language == "python" else shell,
            cwd=folder,
            env=running.clean_environment()
            | {
                "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
                "METERGATE_DATA_DIR": str(self.metergate.data_dir),
            },
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{block.name}:\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    command = folder / "bin" / "metergate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m admin "$@"\n')
    command.chmod(0o755)
    with running.metergate((), folder, "--metrics-port", "0") as metergate:
        made = json.loads(metergate.command("key", "create", "--project", metergate.project_id, "--json"))
        yield Reader(metergate, made["id"], command.parent)


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_a_block_of_the_readme_runs_as_it_stands(block: Block, reader: Reader, tmp_path: Path) -> None:
    """An example that has rotted is the first thing a newcomer meets."""
    assert reader.paste(block, tmp_path).strip()


def test_the_examples_are_there() -> None:
    """Guards the test above: a changed fence or comment must not take examples out unseen."""
    text = "".join(block.text for block in RUN)
    for wanted in (
        "OpenAI(",
        "AsyncOpenAI(",
        "stream=True",
        "ChatOpenAI(",
        "OpenAILike(",
        "curl -N",
        "usage export",
    ):
        assert wanted in text
    assert {block.language for block in README} == {"python", "sh", "text"}
    assert sum(not block.is_run for block in README) == 3


def test_the_start_prints_what_the_readme_shows(reader: Reader) -> None:
    """A first start that looks different from the README makes people doubt that it worked."""
    said = reader.metergate.output.read_text()
    said = said[said.index("metergate is up") :].replace(str(reader.metergate.data_dir), "data")
    said = re.sub(r"sk-(mg|admin)-\w+", r"sk-\1-...", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", said))
    (shown,) = (block.text for block in README if block.text.startswith("metergate is up"))
    assert said.startswith(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", shown))


@pytest.mark.vllm
def test_vllm_has_the_flags_that_the_readme_names() -> None:
    """A flag that vLLM has renamed ends `vllm serve` with an error, not a warning."""
    from tests.vllm.install import installed  # noqa: PLC0415 (only where there is a vLLM)
    from tests.vllm.serve import ENVIRONMENT  # noqa: PLC0415

    help_text = subprocess.run(
        [installed().bin / "vllm", "serve", "--help=all"],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    written = "".join(block.text for block in README if "vllm serve" in block.text)
    table = (ROOT / "README.md").read_text().partition("| flag | why |")[2].partition("\n\n")[0]
    flags = set(VLLM_FLAG.findall(written + table)) - {"--engine"}
    assert "--shutdown-timeout" in flags
    assert [flag for flag in sorted(flags) if flag not in help_text] == []
