"""Formats without choices, whose answers are generated: GSM8K, MATH, TriviaQA, NaturalQuestions."""

from __future__ import annotations

from tasks.benchmarks.exact import boxed, number_after_hashes
from tasks.benchmarks.parsed import ParsedRow, text
from tasks.benchmarks.rows import Row


def gsm8k(row: Row) -> ParsedRow:
    """A word problem. The publisher's `answer` is a chain of thought that ends in `#### 18`."""
    if "context" in row:  # llm-foundry's conversion
        number = text(row["answer"]).strip()
        worked = f"{text(row.get('chain_of_thought')).strip()}\n#### {number}"
        return ParsedRow(text(row["context"]), accepted=(number,), worked=worked)
    question, worked = text(row["question"]), text(row.get("answer")).strip()
    found = number_after_hashes(worked)
    if worked and found is None:
        return ParsedRow(question, problem="its answer has no number after ####")
    return ParsedRow(question, accepted=(found,) if found else (), worked=worked)


def math(row: Row) -> ParsedRow:
    """A problem of MATH, whose solution has the answer in the last \\boxed{}."""
    question, solution = text(row["problem"]), text(row["solution"]).strip()
    found, group = boxed(solution), text(row.get("type")).replace(" ", "_").lower()
    if found is None:
        return ParsedRow(question, group=group, problem="its solution has no \\boxed{}")
    return ParsedRow(question, accepted=(found,), worked=solution, group=group)


def triviaqa(row: Row) -> ParsedRow:
    """A question with all aliases of its answer; the publisher's keys begin with capitals."""
    known = {key.lower(): value for key, value in row.items()}
    answer = {key.lower(): value for key, value in known["answer"].items()}
    aliases = dict.fromkeys([text(answer["value"]), *map(text, answer.get("aliases") or ())])
    id = text(known.get("question_id") or known.get("questionid"))
    return ParsedRow(_unasked(known["question"]), accepted=tuple(aliases), id=id)


def natural_questions(row: Row) -> ParsedRow:
    """A question of NQ-open, with every answer that counts."""
    return ParsedRow(_unasked(row["question"]), accepted=tuple(map(text, row["answer"])))


def _unasked(question: object) -> str:
    """Without the question mark, which the prompt adds."""
    return text(question).strip().removesuffix("?")
