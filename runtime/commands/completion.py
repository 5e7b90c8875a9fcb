"""`completion`: what a shell needs to complete this program's verbs, parts and options."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.commands.common import OK, add_verb

SHELLS = {
    "bash": 'eval "$(copydesk completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(copydesk completion zsh)" in ~/.zshrc, after compinit',
    "fish": "copydesk completion fish > ~/.config/fish/completions/copydesk.fish",
}
"""Shell -> how to switch it on."""


def register(verbs: Any) -> None:
    verb = add_verb(
        verbs,
        "completion",
        f"print the script that completes verbs and options of the program under the name it is started by: "
        f"{'; '.join(SHELLS.values())}. It works for the installed `copydesk`. In a checkout the script completes a "
        "command named run_agents.py, and so nothing after `python run_agents.py`",
    )
    verb.add_argument("shell", choices=list(SHELLS), help="which shell reads it")
    verb.set_defaults(run=print_script)


def print_script(args: argparse.Namespace) -> int:
    """Print the script for `args.shell`, made from the parser itself."""
    import shtab

    from runtime.commands.common import build_parser

    print(shtab.complete(build_parser(), args.shell))
    return OK
