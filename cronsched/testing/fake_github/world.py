"""What the stand-in knows of repositories: their branches and workflow files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

_INPUT: Final = re.compile(r"\$\{\{\s*(?:inputs|github\.event\.inputs)\.([\w-]+)\s*\}\}")

NIGHTLY: Final = """\
name: Nightly report
run-name: Nightly report ${{ inputs.cronsched_id }}
on:
  workflow_dispatch:
    inputs:
      format:
        description: What the report is made as
        type: choice
        options: [pdf, html]
        default: pdf
        required: true
      day:
        description: The day it is of
        type: string
      dry_run:
        type: boolean
        default: false
      copies:
        type: number
        default: 1
      seconds:
        description: How long the stand-in shall work at it
        type: number
        default: 20
      cronsched_id:
        description: Shows in the run's name
        type: string
jobs:
  report:
    runs-on: ubuntu-latest
    steps:
      - run: make report
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """One workflow file, as it is in the repository."""

    text: str

    @property
    def inputs(self) -> Mapping[str, Any]:
        parsed = yaml.safe_load(self.text) or {}
        # YAML 1.1 reads the key `on` as true.
        on = parsed.get("on", parsed.get(True)) or {}
        dispatch = on.get("workflow_dispatch") if isinstance(on, dict) else None
        return (dispatch or {}).get("inputs") or {}

    def title(self, inputs: Mapping[str, Any], *, otherwise: str) -> str:
        """The run's name: `run-name` with its inputs filled in."""
        parsed = yaml.safe_load(self.text) or {}
        named = parsed.get("run-name") or parsed.get("name") or otherwise
        return _INPUT.sub(lambda found: str(inputs.get(found[1], "")), str(named))

    def refusal(self, inputs: Mapping[str, Any]) -> str:
        """What GitHub says to these inputs; "" where it takes them."""
        if unknown := [name for name in inputs if name not in self.inputs]:
            return f"Unexpected inputs provided: {unknown}"
        for name, spec in self.inputs.items():
            spec = spec or {}
            if spec.get("required") and "default" not in spec and not inputs.get(name):
                return f"Required input '{name}' not provided"
            options = spec.get("options")
            if options and name in inputs and inputs[name] not in options:
                return f"Provided value '{inputs[name]}' for input '{name}' not in the list of allowed values"
        return ""


class World:
    """Repositories by "owner/repo": their branches and workflows. One that is not here takes anything."""

    def __init__(self) -> None:
        self.workflows: dict[str, dict[str, Workflow]] = {}
        self.branches: dict[str, list[str]] = {}

    def add(
        self, repository: str, workflows: Mapping[str, str], *, branches: tuple[str, ...] = ("main",)
    ) -> None:
        self.workflows[repository] = {name: Workflow(text=text) for name, text in workflows.items()}
        self.branches[repository] = list(branches)

    def knows(self, repository: str) -> bool:
        return repository in self.workflows

    def workflow(self, repository: str, name: str) -> Workflow | None:
        return self.workflows.get(repository, {}).get(name)
