"""The fenced blocks of a Markdown page, which of them are code that has to run, and running them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance import running
from tests.acceptance.running import Metergate

ROOT = Path(__file__).parents[3]
NOT_RUN = "<!-- not run by the tests: "
_FENCE = re.compile(
    r"^(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, its language, its text, and whether a comment takes it out."""

    page: str
    line: int
    language: str
    text: str
    is_run: bool

    @property
    def name(self) -> str:
        """For a test's id."""
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """All blocks of a page, named from the root."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")),
            found["language"],
            found["text"],
            not found["before"].startswith(NOT_RUN),
        )
        for found in _FENCE.finditer(text)
    ]


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


def command_folder(folder: Path) -> Path:
    """A folder for PATH in which `metergate` is this checkout's."""
    command = folder / "bin" / "metergate"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m admin "$@"\n')
    command.chmod(0o755)
    return command.parent
