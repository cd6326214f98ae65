"""A very small world made by code: a bilingual crawl, letters, reference prose, questions, and the
recipe for it.

The bytes are a function of nothing but this file (and zlib), so that digests of whole runs can be
compared.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

PLACES = (
    "Arlow",
    "Benford",
    "Cressing",
    "Dunmore",
    "Eastvale",
    "Farholt",
    "Grenwick",
    "Hollin",
    "Ivybridge",
    "Jarrow",
)
PLACES_ZH = (
    "青石镇",
    "白沙村",
    "临江城",
    "云岭县",
    "枫桥镇",
    "石门村",
    "落霞岛",
    "竹溪县",
    "海晏城",
    "平湖镇",
)
GOODS = ("pottery", "silk", "honey", "paper", "iron", "salt", "wool", "tea", "glass", "cedar")
GOODS_ZH = ("陶器", "丝绸", "蜂蜜", "宣纸", "铁器", "食盐", "羊毛", "茶叶", "玻璃", "杉木")
SEASONS = ("spring", "summer", "autumn", "winter")
SEASONS_ZH = ("春天", "夏天", "秋天", "冬天")
ENGLISH = (
    "The people of {place} have made {goods} since the year {year}, and they are proud of it.",
    "In {season} the market of {place} is full of traders who want to buy {goods} for the towns in "
    "the valley.",
    "An old road leads from {place} to {other}, and it takes about {number} hours to walk that "
    "far.",
    "Most families in {place} say that their {goods} is better than the {goods} which comes from "
    "{other}.",
    "The museum of {place} was opened in {year} and shows how {goods} was carried over the river.",
    "Visitors who come to {place} in {season} should bring a warm coat, because the wind is "
    "strong.",
    "There are {number} small workshops in {place}, and each of them teaches the craft to young "
    "people.",
    "Nobody knows why {other} gave up its {goods}, but there are many stories about that in "
    "{place}.",
)
CHINESE = (
    "{place}的人们从{year}年起就制作{goods}，他们为此感到非常自豪。",
    "每到{season}，{place}的集市上挤满了商人，他们都想买{goods}带回山谷里的村镇。",
    "有一条古老的道路从{place}通往{other}，步行大约需要{number}个小时才能到达。",
    "{place}的大多数家庭都说，他们的{goods}比{other}出产的{goods}要好得多。",
    "{place}的博物馆在{year}年开放，展示当地人过去怎样把{goods}运过大河。",
    "{season}来到{place}的游客应该带上厚衣服，因为这里的风总是很大。",
    "{place}一共有{number}家小作坊，每一家都把手艺教给年轻人。",
    "没有人知道{other}为什么放弃了{goods}，不过{place}流传着许多关于这件事的故事。",
)
FRENCH = (
    "Les habitants du village racontent que leur miel est le meilleur de toute la vallée depuis "
    "longtemps. "
)


def paragraph(rng: random.Random, language: str, sentences: int = 8) -> str:
    """A few sentences about random places."""
    chinese = language == "zh"
    places, goods, seasons = (
        (PLACES_ZH, GOODS_ZH, SEASONS_ZH) if chinese else (PLACES, GOODS, SEASONS)
    )
    lines = []
    for template in rng.sample(CHINESE if chinese else ENGLISH, min(sentences, 8)):
        place, other = rng.sample(places, 2)
        values = {
            "place": place,
            "other": other,
            "goods": rng.choice(goods),
            "season": rng.choice(seasons),
        }
        lines.append(
            template.format(**values, year=rng.randint(1200, 1990), number=rng.randint(2, 60))
        )
    return ("" if chinese else " ").join(lines)


def questions(language: str = "en") -> list[dict[str, object]]:
    """Twenty questions with four choices, whose wording the crawl has on two pages only."""
    chinese = language == "zh"
    places, goods = (PLACES_ZH, GOODS_ZH) if chinese else (PLACES, GOODS)
    found = []
    for number in range(20):
        place, answer = places[number % 10], number % 4
        question = (
            f"请问在下面列出的几种货物之中，究竟哪一种是{place}的商人第{number}次出海时带上船的？"
            if chinese
            else f"Which of the goods listed below did the merchants of {place} take on board for "
            f"voyage {number}?"
        )
        choices = [goods[(number + shift) % 10] for shift in range(4)]
        found.append(
            {
                "id": f"{language}-{number}",
                "question": question,
                "choices": choices,
                "answer": answer,
            }
        )
    return found


def page(title: str, paragraphs: list[str]) -> bytes:
    """An HTML page with some clutter."""
    text = "".join(f"<p>{one}</p>" for one in paragraphs)
    clutter = "<nav><a href='/'>Home</a> <a href='/about'>About</a></nav>"
    main = f"<main><h1>{title}</h1>{text}</main>"
    return f"<html><head><title>{title}</title></head><body>{clutter}{main}</body></html>".encode()


def record(kind: str, uri: str, block: bytes, content_type: str) -> bytes:
    """One WARC record as a gzip member."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: "
        f"2024-05-01T00:00:00Z\r\nContent-Type: {content_type}\r\nContent-Length: "
        f"{len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)


def response(
    uri: str, body: bytes, status: str = "200 OK", content_type: str = "text/html; charset=utf-8"
) -> bytes:
    """A response record."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return record("response", uri, head + body, "application/http; msgtype=response")


def crawl(pages: int, seed: int = 7) -> Iterator[bytes]:
    """Gzip members: pages in two languages, copies, near copies, leaks of questions, and what a
    filter should drop.
    """
    rng = random.Random(seed)
    yield record("warcinfo", "", b"software: small world\r\n", "application/warc-fields")
    written: list[tuple[str, list[str]]] = []
    for number in range(pages):
        language = "zh" if number % 2 else "en"
        written.append((language, [paragraph(rng, language) for _ in range(2)]))
        yield response(f"https://{language}.test/{number}", page(f"Page {number}", written[-1][1]))
    for number in range(0, pages, 7):
        language, (first, second) = written[number]
        copied = f"{first} Copied from page {number}." if number % 4 else first
        yield response(f"https://mirror.test/{number}", page(f"Page {number}", [copied, second]))
    for language in ("en", "zh"):
        for number in range(2):
            scrambled = list(
                paragraph(rng, language) if language == "zh" else paragraph(rng, language).split()
            )
            rng.shuffle(scrambled)
            text = ("" if language == "zh" else " ").join(scrambled)
            yield response(f"https://node.test/{language}-{number}", page("Node", [text]))
        for item in questions(language)[:2]:
            leak = page(
                "Quiz", [paragraph(rng, language), str(item["question"]), paragraph(rng, language)]
            )
            yield response(f"https://quiz.test/{item['id']}", leak)
    for number in range(3):
        yield response(f"https://fr.test/{number}", page("Miel", [FRENCH * (4 + number)]))
        yield response(f"https://short.test/{number}", page("Short", [f"Nothing here {number}."]))
        yield response(f"https://gone.test/{number}", b"gone", status="404 Not Found")
        yield response(f"https://image.test/{number}", b"\x89PNG\r\n", content_type="image/png")
    whole = response("https://cut.test/", page("Cut", [paragraph(rng, "en")]))
    yield whole[: len(whole) // 2]


def jsonl(file: Path, rows: list[dict[str, object]]) -> None:
    """Write JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def write_world(folder: Path, pages: int = 160) -> None:
    """Write everything the recipe reads below `folder`."""
    members = list(crawl(pages))
    (folder / "crawl").mkdir(parents=True)
    half = len(members) // 2
    for number, part in enumerate((members[:half], members[half:])):
        (folder / "crawl" / f"{number}.warc.gz").write_bytes(b"".join(part))
    rng = random.Random(11)
    letters = [
        {"source": f"Write about {PLACES[n % 10]}.", "target": paragraph(rng, "en")}
        for n in range(max(8, pages // 5))
    ]
    jsonl(folder / "letters.jsonl", [*letters, letters[0]])
    for language in ("en", "zh"):
        jsonl(
            folder / f"reference-{language}.jsonl",
            [{"text": paragraph(rng, language)} for _ in range(60)],
        )
        jsonl(folder / f"questions-{language}.jsonl", questions(language))


RECIPE = """\
name: small
engine: {kind: processes, workers: 2, cpu_threads: 1}

sources:
  crawl:
    ingest: {format: warc, paths: ["crawl/*.warc.gz"]}
    langid: {keep: {languages: [en, zh], threshold: 0.4}}
    quality: {rules: [gopher, c4], keep: {rules: [gopher], except: [gopher.repetition]}}
    perplexity: {keep: [head, middle]}
    category: {en: web-en, zh: web-zh}
  letters:
    ingest: {format: jsonl, paths: [letters.jsonl]}
    langid: {}
    category: web-en
  reference-en:
    ingest: {format: jsonl, paths: [reference-en.jsonl]}
  reference-zh:
    ingest: {format: jsonl, paths: [reference-zh.jsonl]}

language_models:
  en: {sources: [reference-en], vocabulary: 400, order: 3}
  zh: {sources: [reference-zh], vocabulary: 400, order: 3}
percentiles: {head: 50, middle: 98}
benchmarks:
  quiz-en: {format: multiple-choice, paths: [questions-en.jsonl], language: en}
  quiz-zh: {format: multiple-choice, paths: [questions-zh.jsonl], language: zh}
dedup: {verify: 0.8}
decontaminate: {against: [quiz-en, quiz-zh]}
select: {heldout: {fraction: 0.15, max_documents: 5}}

tokenizer: {train: {size: 512, from: [web-en, web-zh]}}
model:
  create: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 128, tie_word_embeddings: true}
binning: {sequence_length: 64, bins: 2}
training:
  optimizer: {lr: 3e-3}
  schedule: {kind: cosine, warmup: 500, total: 8K}
  checkpoint_every: 512
  batch: 512
  phases:
    - {name: first, tokens: 4K, mixture: {web-en: 0.5, web-zh: rest}}
    - {name: second, tokens: 4K, mixture: {web-zh: {from: 0.5, to: 0.8}, web-en: rest}}
evaluation: {models: [first, second], tasks: [quiz-en], protocols: [harness, bits-per-byte]}
"""


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    """Write the recipe beside the world and return its path."""
    file = folder / "small.yaml"
    file.write_text(text, encoding="utf-8")
    return file
