"""What README.md tells people to paste works, as it stands there.

Each block runs as a process of its own against `metergate up`, with the simulator that it starts itself.
Only what differs from machine to machine is put in: the address, the key, and the ids written as `org-...`,
`proj_...`, `key_...`.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.docs.reading import ROOT, Block, Reader, blocks

README = blocks("README.md")
RUN = [block for block in README if block.language in ("python", "sh") and block.is_run]
VLLM_FLAG = re.compile(r"--[a-z]+(?:-[a-z]+)*")


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_a_block_of_the_readme_runs_as_it_stands(block: Block, reader: Reader, tmp_path: Path) -> None:
    """An example that has rotted is the first thing a newcomer meets."""
    said = reader.paste(block, tmp_path)
    assert said.strip()
    assert '{"error"' not in said, said  # curl ends with 0 whatever the answer was


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
