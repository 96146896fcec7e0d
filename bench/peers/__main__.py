"""The command line of the recipes: installs peers, and lists them."""

from __future__ import annotations

import argparse
import subprocess
import sys

from bench.peers import PEERS


def main() -> int:
    """Returns the exit status: 1 if a peer could not be installed; the others are, all the same."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="The peers of the benchmark.")
    parser.add_argument("action", choices=("install", "list"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}; without, all")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(PEERS):
        parser.error(f"no recipe for {', '.join(sorted(unknown))}")
    failed = 0
    for peer in [PEERS[name] for name in asked.names or PEERS]:
        if asked.action == "install" and peer.missing():
            print(f"installing {peer.name} {peer.version} into {peer.home()}", flush=True)
            try:
                peer.install()
            except (subprocess.CalledProcessError, FileNotFoundError) as fault:
                failed = 1
                print(
                    f"{peer.name} cannot be had here: {fault}. Elsewhere: {peer.elsewhere}", file=sys.stderr
                )
        state = peer.missing() or f"installed in {peer.home()}"
        print(f"{peer.name} {peer.version}: {peer.does}: {state}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
