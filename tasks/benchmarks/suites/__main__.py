"""`python -m tasks.benchmarks.suites` prints docs/suites.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tasks.benchmarks import suites
from tasks.benchmarks.model import Benchmark

_INTRODUCTION = """# Suites

Generated from `tasks/benchmarks/suites`. A suite is the evaluation of a published table: its
benchmarks with shots, protocol and metric as its authors had them, and their figures, which stand
in every table beside ours. A recipe names it:

```yaml
evaluation: {suite: tinyllama, data: /data/benchmarks, models: [base, more]}
```

or, for the folder of any model in Hugging Face format, without a recipe:

```console
$ puna evaluate Llama-2-7b-hf --suite tinyllama --data /data/benchmarks --tasks piqa,boolq
```

`data` is the folder with the files; nothing is downloaded. What is missing is named with where to
get it and where to put it, before any model is loaded, and so is a file of another version, where
its checksum is known. A benchmark of the recipe with a task's name replaces fields of the suite's
(`benchmarks: {mmlu: {limit: 500}}`), null leaves the task out, `evaluation.tasks` adds benchmarks,
and `decontaminate: {against: [tinyllama]}` searches for all of the suite's. Worked examples are the
first of the training files. Prompts begin with the beginning-of-text token where the tokenizer does
that by default (`bos` of a benchmark says otherwise)."""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield _INTRODUCTION
    for name in suites.names():
        suite = suites.suite(name)
        yield f"\n## {name}\n\n{suite.summary}. Figures: {suite.source}.\n"
        yield from (f"- {remark}." for remark in suite.remarks)
        yield from [""] if suite.remarks else []
        yield f"| task | shots | protocol | metric | {' | '.join(suite.published)} |"
        yield "|---" * (4 + len(suite.published)) + "|"
        for task in suite.tasks:
            fields, _ = suites.benchmark(name, task, "")
            benchmark = Benchmark.model_validate(fields)
            figures = [
                f"{scores[task]:.1f}" if task in scores else ""
                for scores in suite.published.values()
            ]
            cells = [
                task,
                str(benchmark.shots),
                ", ".join(benchmark.protocols),
                benchmark.resolved_metric(),
                *figures,
            ]
            yield f"| {' | '.join(cells)} |"
    yield "\n## Files\n"
    yield "Of several layouts the first that is complete is read; worked examples are needed where"
    yield "the suite has shots.\n"
    yield "| data set | items | files below `data`, and of worked examples | from |"
    yield "|---|---|---|---|"
    for name in suites.data_names():
        data = suites.data_set(name)
        layouts = "<br>".join(
            ", ".join(f"`{path}`" for path in (*layout["paths"], *layout.get("dev", ())))
            for layout in data.layouts
        )
        yield f"| {name} | {data.items or ''} | {layouts} | {data.get} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()) + "\n")
