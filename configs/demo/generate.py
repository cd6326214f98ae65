"""Write the demo's crawl, reference prose and benchmarks: `python configs/demo/generate.py
OUT_FOLDER [--seed N]`.

    OUT/crawl/crawl-00.warc.gz ...        WARC/1.0, one gzip member a record, as crawlers write them
    OUT/reference/en.jsonl, zh.jsonl      {"text"}: clean prose of the same country, for the
                                          perplexity models
    OUT/benchmarks/questions-en.jsonl ... {"id", "question", "choices", "answer", "group"}
    OUT/truth.jsonl                       {"url", "kind", "language"} of every response: what
                                          filters should find

The bytes are a function of the seed (and of zlib's version). Only the standard library is used.
Before anything is written the generator checks its own promises and refuses to write a world that
breaks one: no wording of a question of the benchmark, and no name of an entity the crawl should not
know, occurs on a page that does not leak on purpose.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import random
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from phrases import COUNTRY, NAVIGATION, NOTICES, OTHER_LANGUAGES, SPAM, TEMPLATES
from world import LANGUAGES, Page, World

WARC_FILES = 4
MIRROR_SHARE = 0.08  # of the clean pages: the same page on another host
NEAR_COPY_SHARE = 0.08  # the same page with a few words changed
SPAM_PAGES, GIBBERISH_PAGES, SHORT_PAGES, OTHER_LANGUAGE_PAGES = 60, 60, 40, 25  # per language
ERROR_RESPONSES, BINARY_RESPONSES, WRONG_CHARSETS = 60, 20, 12
STEM_GRAM = {
    "en": 8,
    "zh": 10,
}  # no run of so many words (characters) of a question occurs on a clean page
LONGEST_GRAM = 13  # decontamination's usual n: questions are at least so long
DATE = "2024-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:00Z"


@dataclass(frozen=True)
class Response:
    """One HTTP exchange of the crawl."""

    url: str
    body: bytes
    kind: str  # goes to truth.jsonl
    language: str
    status: str = "200 OK"
    content_type: str = "text/html; charset=utf-8"


# -- HTML


def page_html(page: Page, rng: random.Random, charset: str = "utf-8") -> str:
    """The page inside a site's usual clutter: navigation, cookie notice, side bar, footer."""
    language = page.language if page.language in LANGUAGES else "en"
    links = "".join(
        f'<li><a href="/{i}">{word}</a></li>' for i, word in enumerate(NAVIGATION[language])
    )
    notices = rng.sample(NOTICES[language], 2)
    paragraphs = "\n".join(
        f"<p>{'<br>'.join(html.escape(line, quote=False) for line in p)}</p>"
        for p in page.paragraphs
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{page.language}">\n<head><meta charset="{charset}">'
        f"<title>{html.escape(page.title)}</title>"
        f"<style>body {{ font-family: serif; margin: {rng.randint(1, 4)}em }}</style>"
        f"<script>var visit = {rng.randint(10**6, 10**7)};</script></head>\n<body>\n"
        f'<header><nav><ul class="menu">{links}</ul></nav></header>\n'
        f'<div class="cookie-banner">{notices[0]}</div>\n'
        f"<main><article>\n<h1>{html.escape(page.title)}</h1>\n{paragraphs}\n</article></main>\n"
        f'<aside class="sidebar"><ul>{links}</ul></aside>\n'
        f"<footer><p>{notices[1]}</p><ul>{links}</ul></footer>\n</body>\n</html>\n"
    )


def near_copy(page: Page, rng: random.Random) -> Page:
    """The same page with a line of its own at the end of the last paragraph: what a scraper's copy
    looks like.
    """
    note = {"en": f"Copied on day {rng.randint(2, 30)}.", "zh": f"转载于{rng.randint(2, 30)}日。"}[
        page.language
    ]
    *rest, last = page.paragraphs
    return Page(page.language, page.kind, page.title, (*rest, (*last, note)))


def spam_page(language: str, rng: random.Random) -> Page:
    separator = " " if language == "en" else ""
    lines = tuple(
        (separator.join(rng.choice(SPAM[language]) for _ in range(rng.randint(20, 40))),)
        for _ in range(rng.randint(4, 8))
    )
    return Page(
        language, "spam", separator.join(rng.choice(SPAM[language]) for _ in range(4)), lines
    )


def gibberish_page(language: str, rng: random.Random) -> Page:
    if language == "en":
        letters = "abcdefghijklmnopqrstuvwxyz0123456789#{}%"
        words = [
            "".join(rng.choices(letters, k=rng.randint(1, 18))) for _ in range(rng.randint(80, 160))
        ]
        lines = tuple((" ".join(words[i : i + 20]),) for i in range(0, len(words), 20))
    else:
        lines = tuple(
            ("".join(chr(rng.randint(0x4E00, 0x9FA5)) for _ in range(60)),)
            for _ in range(rng.randint(3, 6))
        )
    return Page(language, "gibberish", "".join(rng.choices("xqzvkj", k=8)), lines)


def other_page(language: str, rng: random.Random) -> Page:
    sentences = list(OTHER_LANGUAGES[language])
    rng.shuffle(sentences)
    return Page(
        language,
        "other",
        sentences[0].split(" ")[-1],
        ((" ".join(sentences[:4]),), (" ".join(sentences[4:]),)),
    )


# -- the crawl


def responses(world: World, rng: random.Random) -> list[Response]:
    """Every exchange of the crawl, in crawl order, without the records broken on purpose."""
    found: list[Response] = []
    slug = COUNTRY[0].lower()

    def add(
        page: Page, host: str, kind: str, charset: str = "utf-8", declared: str | None = None
    ) -> None:
        text = page_html(page, rng, declared or charset)
        found.append(
            Response(
                url=f"https://{host}.{slug}.example/{page.language}/{len(found):05d}.html",
                body=text.encode(charset, errors="replace"),
                kind=kind,
                language=page.language,
                content_type=f"text/html; charset={declared or charset}",
            )
        )

    for language in LANGUAGES:
        pages = world.pages(language)
        clean = [p for p in pages if p.kind != "leak"]
        for page in pages:
            chinese_legacy = language == "zh" and rng.random() < 0.05
            add(
                page,
                f"www{rng.randint(1, 30)}",
                page.kind,
                charset="gb18030" if chinese_legacy else "utf-8",
            )
        for page in rng.sample(clean, int(MIRROR_SHARE * len(clean))):
            add(page, f"mirror{rng.randint(1, 3)}", "mirror")
        for page in rng.sample(clean, int(NEAR_COPY_SHARE * len(clean))):
            add(near_copy(page, rng), f"copy{rng.randint(1, 3)}", "near-copy")
        for _ in range(SPAM_PAGES):
            add(spam_page(language, rng), "deals", "spam")
        for _ in range(GIBBERISH_PAGES):
            add(gibberish_page(language, rng), "node", "gibberish")
        for page in rng.sample(clean, SHORT_PAGES):
            add(Page(language, "short", page.title, ((page.title,),)), "m", "short")
    for language in OTHER_LANGUAGES:
        for _ in range(OTHER_LANGUAGE_PAGES):
            legacy = rng.random() < 0.2
            add(
                other_page(language, rng),
                f"{language}",
                "other",
                charset="latin-1" if legacy else "utf-8",
            )
    for i in range(WRONG_CHARSETS):  # the declared charset is not the one used, or none that exists
        page = spam_page("zh", rng) if i % 2 else other_page("fr", rng)
        charset, declared = (("gb18030", "utf-8"), ("latin-1", "utf-8"), ("utf-8", "x-nonsense-9"))[
            i % 3
        ]
        if charset == "latin-1" and page.language == "zh":
            charset = "gb18030"
        add(page, "charset", "wrong-charset", charset, declared)
    for i in range(ERROR_RESPONSES):
        status = (
            "404 Not Found",
            "301 Moved Permanently",
            "500 Internal Server Error",
            "403 Forbidden",
        )[i % 4]
        body = (
            f"<html><body><h1>{status}</h1><p>The page that you have asked for is not "
            "here.</p></body></html>"
        )
        found.append(
            Response(
                f"https://www.{slug}.example/gone/{i}", body.encode(), "error", "en", status=status
            )
        )
    for i in range(BINARY_RESPONSES):
        kind, magic = (("image/png", b"\x89PNG\r\n\x1a\n"), ("application/pdf", b"%PDF-1.4\n"))[
            i % 2
        ]
        url = f"https://www.{slug}.example/files/{i}"
        found.append(Response(url, magic + rng.randbytes(400), "binary", "", content_type=kind))
    rng.shuffle(found)
    return found


# -- WARC


def gzip_member(payload: bytes) -> bytes:
    """One gzip member with a fixed header (no time, no name, unknown system)."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(payload) + deflate.flush()
    return (
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        + body
        + struct.pack("<II", zlib.crc32(payload), len(payload))
    )


def warc_record(
    kind: str, identity: str, date: str, headers: dict[str, str], block: bytes
) -> bytes:
    digest = hashlib.sha256(f"{kind} {identity}".encode()).hexdigest()
    lines = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}>",  # noqa: E501
        "WARC-Date": date,
        **headers,
        "Content-Length": str(len(block)),
    }
    head = (
        "WARC/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def warc_members(found: list[Response], name: str, rng: random.Random) -> Iterator[bytes]:
    """The gzip members of one archive: warcinfo, then request and response of each exchange, now
    and then a revisit.
    """
    start = DATE.format(month=3, day=1, hour=0, minute=0)
    info = f"software: puna demo\r\nformat: WARC File Format 1.0\r\nisPartOf: {COUNTRY[0]}\r\n".encode()  # noqa: E501
    about = {"WARC-Filename": name, "Content-Type": "application/warc-fields"}
    yield gzip_member(warc_record("warcinfo", name, start, about, info))
    for i, response in enumerate(found):
        date = DATE.format(month=3 + i % 3, day=1 + i % 28, hour=i % 24, minute=i % 60)
        path = "/" + response.url.split("/", 3)[3]
        target = {"WARC-Target-URI": response.url}
        request = f"GET {path} HTTP/1.1\r\nHost: {response.url.split('/')[2]}\r\n\r\n".encode()
        kind = {**target, "Content-Type": "application/http; msgtype=request"}
        yield gzip_member(warc_record("request", response.url, date, kind, request))
        head = (
            f"HTTP/1.1 {response.status}\r\nContent-Type: {response.content_type}\r\n"
            f"Content-Length: {len(response.body)}\r\nServer: demo\r\n\r\n"
        ).encode()
        kind = {**target, "Content-Type": "application/http; msgtype=response"}
        yield gzip_member(warc_record("response", response.url, date, kind, head + response.body))
        if rng.random() < 0.01:
            kind = {
                **target,
                "WARC-Profile": "http://netpreserve.org/warc/1.0/revisit/identical-payload-digest",
                "Content-Type": "application/http; msgtype=response",
            }
            yield gzip_member(warc_record("revisit", response.url, date, kind, head))


def archives(found: list[Response], rng: random.Random) -> dict[str, bytes]:
    """The crawl's files. One has a member with flipped bits in the middle, another ends within its
    last record.
    """
    files = {}
    for number in range(WARC_FILES):
        name = f"crawl-{number:02d}.warc.gz"
        members = list(warc_members(found[number::WARC_FILES], name, rng))
        extra = warc_record(
            "response",
            f"broken {name}",
            DATE.format(month=5, day=1, hour=0, minute=0),
            {
                "WARC-Target-URI": f"https://broken.example/{number}",
                "Content-Type": "application/http; msgtype=response",
            },
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body><p>"
            + b"This record is broken on purpose. " * 200
            + b"</p></body></html>",
        )
        if number == 1:
            broken = bytearray(gzip_member(extra))
            for position in range(len(broken) // 2, len(broken) // 2 + 8):
                broken[position] ^= 0xFF
            members.insert(len(members) // 2, bytes(broken))
        if number == 3:
            members.append(gzip_member(extra)[:-60])
        files[name] = b"".join(members)
    return files


# -- promises


def grams(text: str, language: str, size: int) -> set[tuple[str, ...]]:
    """Runs of `size` words (English) or characters (Chinese), without case and punctuation."""
    units = re.findall(r"\w+" if language == "en" else r"\w", text.lower())
    return {tuple(units[i : i + size]) for i in range(len(units) - size + 1)}


def check(world: World, texts: dict[str, list[str]]) -> None:
    """Refuse a world whose benchmark could be answered from its wording. `texts`: all clean text by
    language.
    """
    for language in LANGUAGES:
        text = "\n".join(texts[language])
        for entity in world.entities:
            name = entity.names[language]
            if (name in text) != (entity.group == "known"):
                raise ValueError(
                    f"{name} ({entity.group}) {'occurs' if name in text else 'is missing'}; take "
                    "another seed"
                )
        size = STEM_GRAM[language]
        seen = set().union(*(grams(t, language, size) for t in texts[language]))
        for item in world.items[language]:
            if item.question in text:
                raise ValueError(
                    f"the crawl states question {item.id}; change its template in phrases.py"
                )
            shared = grams(f"{item.question} {item.choices[item.answer]}", language, size) & seen
            if shared:
                raise ValueError(
                    f"question {item.id} shares {min(shared)} with the crawl; change its template"
                )
            if not grams(item.question, language, LONGEST_GRAM):
                raise ValueError(
                    f"question {item.id} is shorter than {LONGEST_GRAM} words or characters: "
                    f"{item.question}"
                )
            if len(set(item.choices)) != len(item.choices):
                raise ValueError(f"question {item.id} repeats a choice: {item.choices}")
        for attribute, forms in TEMPLATES[language].items():
            for template in forms["benchmark"]:
                if template in forms["facts"] or template in forms["faq"]:
                    raise ValueError(
                        f"{language} {attribute}: {template!r} is also a phrasing of the crawl"
                    )


# -- files


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def generate(seed: int) -> dict[str, bytes]:
    """Every file by its relative path."""
    world = World(seed)
    reference = {language: world.reference(language) for language in LANGUAGES}
    check(
        world,
        {
            ln: [p.text for p in world.pages(ln) if p.kind != "leak"] + reference[ln]
            for ln in LANGUAGES
        },
    )
    found = responses(world, random.Random(f"{seed}/crawl"))
    files = {
        f"crawl/{n}": data for n, data in archives(found, random.Random(f"{seed}/archives")).items()
    }
    for language in LANGUAGES:
        files[f"reference/{language}.jsonl"] = jsonl(
            [{"text": text} for text in reference[language]]
        )
        files[f"benchmarks/questions-{language}.jsonl"] = jsonl(
            [
                {
                    "id": i.id,
                    "question": i.question,
                    "choices": list(i.choices),
                    "answer": i.answer,
                    "group": i.group,
                }
                for i in world.items[language]
            ]
        )
    files["truth.jsonl"] = jsonl(
        [{"url": r.url, "kind": r.kind, "language": r.language} for r in found]
    )
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write the demo's crawl, reference prose and benchmarks."
    )
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, data in generate(arguments.seed).items():
        path = arguments.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (
            not path.exists() or path.read_bytes() != data
        ):  # leave an equal file alone: its hash is cached by time
            path.write_bytes(data)
        print(f"{len(data):>10,} bytes  {path}")


if __name__ == "__main__":
    main()
