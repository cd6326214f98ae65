"""The contracts of all stages as Markdown: `python -m flows.planning.contracts` prints
docs/stages.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from flows.planning.wiring import STAGES
from infra.stage import EVERY_STAGE, Role, Stage

_HEAD = """\
# Stages

Written by `make docs` from what each stage declares in `tasks/<stage>/stage.py`. A stage reads
artifacts in the roles listed here and files that its parameters name; it writes the files listed
below the version's `data/`. *bitwise* stages write the same bytes for any engine, worker count or
interruption.
"""


def page(stages: Iterable[Stage] = STAGES) -> str:
    """The page, stages in running order."""
    return "\n".join([_HEAD, *(line for stage in stages for line in _section(stage))])


def _section(stage: Stage) -> Iterator[str]:
    kind = "bitwise" if stage.bitwise else "numeric"
    yield f"## {stage.name}\n"
    yield f"{stage.summary[0].upper()}{stage.summary[1:]}. Version {stage.version}, {kind}."
    if stage.section:
        yield f"Recipe section: `{stage.section}`."
    yield ""
    for role in stage.inputs:
        yield f"- reads {_role(role)}"
    for output in stage.outputs:
        columns = ", ".join(f"`{name}` {type_}" for name, type_ in output.columns.items())
        yield f"- writes `{output.files}`: {output.what}{f': {columns}' if columns else ''}"
    yield ""


def _role(role: Role) -> str:
    if role.name == EVERY_STAGE:
        return "every artifact of the run, each stage in a role of its own name"
    count = {
        (False, False): "one artifact",
        (False, True): "at most one artifact",
        (True, False): "one or more artifacts",
        (True, True): "any number of artifacts",
    }[role.many, role.optional]
    return f"`{role.name}`: {count} of {' or '.join(role.stages) or 'any stage'}"


if __name__ == "__main__":
    sys.stdout.write(page())
