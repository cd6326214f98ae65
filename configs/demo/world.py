"""The demo's world: a fictional country's towns and people, what pages say about them, and what the
benchmarks ask.

A world is a pure function of its seed. Entities fall into three groups:

    known    their facts are stated on many pages, in English and in Chinese
    control  they occur nowhere in the crawl: a model can only guess
    leaked   their facts are stated nowhere, but some pages carry the benchmark's question with its
             answer

Questions come in quartets: four entities with four different values share one set of four options,
and each option is right exactly once, at a different position each time. A model whose preference
among the options ignores the entity therefore scores 0.25 exactly, whatever it prefers; so does one
that prefers a position.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from phrases import (
    COUNTRY,
    FILLERS,
    FIRST_NAMES,
    LABELS,
    MONTHS,
    PERSON_ATTRIBUTES,
    SYLLABLES,
    TEMPLATES,
    TITLES,
    TOWN_ATTRIBUTES,
    VALUES,
)

LANGUAGES = ("en", "zh")
GROUPS = {"known": 16, "control": 8, "leaked": 4}  # towns, and as many people, in each group
QUARTET = 4

# Pages of each kind and language. Together a known fact is stated about forty times.
PAGES_PER_TOWN = 30
PAGES_PER_PERSON = 30
DIARY_PAGES = 100
PEOPLE_PAGES = 100
FAQ_PAGES = 480
PAGES_PER_LEAKED_ITEM = 12
LEAKED_ITEMS_PER_PAGE = 6
REFERENCE_DOCUMENTS = 700


@dataclass(frozen=True)
class Entity:
    kind: str  # "town" or "person"
    group: str
    names: dict[str, str]  # by language
    facts: dict[str, dict[str, str]]  # attribute -> language -> value


@dataclass(frozen=True)
class Item:
    """One benchmark question; `answer` indexes `choices`."""

    id: str
    language: str
    group: str
    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Page:
    """The content of one page: paragraphs of lines. Mark-up and noise come later."""

    language: str
    kind: str
    title: str
    paragraphs: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        return "\n\n".join("\n".join(lines) for lines in self.paragraphs)


class Deck:
    """Deals all cards in random order before any comes again, so that every fact and phrasing is
    used equally often.
    """

    def __init__(self, cards: list, rng: random.Random) -> None:
        self._cards, self._rng, self._left = list(cards), rng, []

    def draw(self):
        if not self._left:
            self._left = self._cards[:]
            self._rng.shuffle(self._left)
        return self._left.pop()


class World:
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.entities = self._make_entities(random.Random(f"{seed}/entities"))
        self.items = {language: self._make_items(language) for language in LANGUAGES}

    def of(self, group: str, kind: str | None = None) -> list[Entity]:
        return [e for e in self.entities if e.group == group and kind in (None, e.kind)]

    # -- entities and facts

    @staticmethod
    def _names(count: int, rng: random.Random) -> list[tuple[str, str]]:
        """Distinct names of two syllables, none part of another in either language."""
        pairs = list(itertools.permutations(SYLLABLES, 2))
        rng.shuffle(pairs)
        taken: list[tuple[str, str]] = []
        for first, second in pairs:
            name = ((first[0] + second[0]).capitalize(), first[1] + second[1])
            clash = any(
                a.lower() in b.lower() or b.lower() in a.lower()
                for old in taken
                for a, b in zip(name, old, strict=True)
            )
            if not clash:
                taken.append(name)
            if len(taken) == count:
                return taken
        raise ValueError(f"only {len(taken)} of {count} names could be made; add syllables")

    def _make_entities(self, rng: random.Random) -> list[Entity]:
        per_kind = sum(GROUPS.values())
        names = self._names(2 * per_kind, rng)
        groups = [group for group, count in GROUPS.items() for _ in range(count)]
        towns = [{"en": en, "zh": zh + "镇"} for en, zh in names[:per_kind]]
        people = []
        for en, zh in names[per_kind:]:
            first_en, first_zh = rng.choice(FIRST_NAMES)
            # No dot between the Chinese names: it makes fastText take one page in ten about people
            # for Japanese.
            people.append({"en": f"{first_en} {en}", "zh": first_zh + zh})
        values = {
            attribute: [{"en": en, "zh": zh} for en, zh in pairs]
            for attribute, pairs in VALUES.items()
        }
        values["home"] = towns[:16]  # known towns
        entities = []
        for kind, all_names, attributes in (
            ("town", towns, TOWN_ATTRIBUTES),
            ("person", people, PERSON_ATTRIBUTES),
        ):
            facts: list[dict[str, dict[str, str]]] = [{} for _ in all_names]
            for attribute in attributes:
                for group in GROUPS:
                    members = [i for i, g in enumerate(groups) if g == group]
                    for position, i in enumerate(members):
                        if (
                            position % len(values[attribute]) == 0
                        ):  # every value equally often within a group
                            order = rng.sample(values[attribute], len(values[attribute]))
                        facts[i][attribute] = order[position % len(order)]
            entities += [Entity(kind, groups[i], all_names[i], facts[i]) for i in range(per_kind)]
        return entities

    # -- benchmark

    def _make_items(self, language: str) -> list[Item]:
        rng = random.Random(f"{self.seed}/items")  # the same quartets in both languages
        items = []
        for group in GROUPS:
            for kind, attributes in (("town", TOWN_ATTRIBUTES), ("person", PERSON_ATTRIBUTES)):
                for attribute in attributes:
                    for quartet in self._quartets(self.of(group, kind), attribute, rng):
                        for position, entity in enumerate(quartet):
                            others = [e for e in quartet if e is not entity]
                            rng.shuffle(others)
                            chosen = [*others[:position], entity, *others[position:]]
                            phrasings = TEMPLATES[language][attribute]["benchmark"]
                            items.append(
                                Item(
                                    id=f"{language}-{group}-{attribute}-{len(items):04d}",
                                    language=language,
                                    group=group,
                                    question=phrasings[rng.randrange(len(phrasings))].format(
                                        e=entity.names[language]
                                    ),
                                    choices=tuple(e.facts[attribute][language] for e in chosen),
                                    answer=position,
                                )
                            )
        return items

    @staticmethod
    def _quartets(
        entities: list[Entity], attribute: str, rng: random.Random
    ) -> Iterator[list[Entity]]:
        """Partition into fours with four different values each."""
        by_value: dict[str, list[Entity]] = {}
        for entity in entities:
            by_value.setdefault(entity.facts[attribute]["en"], []).append(entity)
        for members in by_value.values():
            rng.shuffle(members)
        for layer in itertools.zip_longest(*by_value.values()):
            row = [entity for entity in layer if entity is not None]
            rng.shuffle(row)
            for start in range(0, len(row), QUARTET):
                quartet = row[start : start + QUARTET]
                rng.shuffle(quartet)
                yield quartet

    # -- pages

    def pages(self, language: str) -> list[Page]:
        """Every clean page of one language, the leaking ones included (kind "leak")."""
        write = _Writer(self, language, random.Random(f"{self.seed}/pages/{language}"))
        pages = [
            write.entity_page(e) for e in self.of("known", "town") for _ in range(PAGES_PER_TOWN)
        ]
        pages += [
            write.entity_page(e)
            for e in self.of("known", "person")
            for _ in range(PAGES_PER_PERSON)
        ]
        pages += [write.collection_page("diary", "town") for _ in range(DIARY_PAGES)]
        pages += [write.collection_page("people", "person") for _ in range(PEOPLE_PAGES)]
        pages += [write.faq_page() for _ in range(FAQ_PAGES)]
        pages += list(write.leak_pages())
        return pages

    def reference(self, language: str) -> list[str]:
        """Clean text for a perplexity model: entries of an encyclopedia of the same country, and
        quizzes.
        """
        write = _Writer(self, language, random.Random(f"{self.seed}/reference/{language}"))
        known = Deck(self.of("known"), write.rng)
        kinds = Deck(["entry", "entry", "entry", "quiz"], write.rng)
        return [
            (write.entity_page(known.draw()) if kinds.draw() == "entry" else write.faq_page()).text
            for _ in range(REFERENCE_DOCUMENTS)
        ]


class _Writer:
    """Composes pages of one language from the world's facts."""

    def __init__(self, world: World, language: str, rng: random.Random) -> None:
        self.language, self.rng = language, rng
        self.items = [item for item in world.items[language] if item.group == "leaked"]
        self._fillers = Deck(list(FILLERS[language]), rng)
        self._known = {kind: Deck(world.of("known", kind), rng) for kind in ("town", "person")}
        self._questions = Deck(
            [(e, attribute) for e in world.of("known") for attribute in e.facts], rng
        )
        self._phrasings: dict[tuple[str, str, str], Deck] = {}

    def _phrase(self, entity: Entity, attribute: str, form: str) -> str:
        key = (entity.names["en"], attribute, form)
        if key not in self._phrasings:
            self._phrasings[key] = Deck(list(TEMPLATES[self.language][attribute][form]), self.rng)
        template = self._phrasings[key].draw()
        return template.format(
            e=entity.names[self.language], v=entity.facts[attribute][self.language]
        )

    def _filler(self) -> str:
        return self._fillers.draw().format(
            month=self.rng.choice(MONTHS[self.language]), n=self.rng.randint(2, 30)
        )

    def _title(self, kind: str, entity: Entity | None = None) -> str:
        country = COUNTRY[LANGUAGES.index(self.language)]
        name = entity.names[self.language] if entity else ""
        return self.rng.choice(TITLES[self.language][kind]).format(e=name, c=country)

    def _join(self, sentences: list[str]) -> tuple[str, ...]:
        return (("" if self.language == "zh" else " ").join(sentences),)

    def _paragraphs(self, sentences: list[str]) -> tuple[tuple[str, ...], ...]:
        size = self.rng.randint(4, 6)
        return tuple(self._join(sentences[i : i + size]) for i in range(0, len(sentences), size))

    def _entities(self, entity: Entity, count: int) -> list[Entity]:
        """`entity` and others of its kind, `count` in all."""
        found = [entity]
        while len(found) < count:
            other = self._known[entity.kind].draw()
            if other not in found:
                found.append(other)
        return found

    def entity_page(self, entity: Entity) -> Page:
        """One town or person, every fact once.

        Stating a fact twice on a page would teach a model to copy from above instead of
        remembering.
        """
        sentences = [self._phrase(entity, attribute, "facts") for attribute in entity.facts]
        sentences += [self._filler() for _ in range(self.rng.randint(1, 2))]
        self.rng.shuffle(sentences)
        return Page(
            self.language,
            entity.kind,
            self._title(entity.kind, entity),
            self._paragraphs(sentences),
        )

    def collection_page(self, page_kind: str, entity_kind: str) -> Page:
        """Several towns or people, two facts of each."""
        sentences = []
        for entity in self._entities(self._known[entity_kind].draw(), self.rng.randint(4, 6)):
            for attribute in self.rng.sample(list(entity.facts), 2):
                sentences.append(self._phrase(entity, attribute, "facts"))
        sentences.insert(self.rng.randint(0, len(sentences)), self._filler())
        return Page(self.language, page_kind, self._title(page_kind), self._paragraphs(sentences))

    def _asked(self, question: str, answer: str) -> tuple[str, str]:
        ask, reply = LABELS[self.language]
        return ask + question, reply + answer + ("。" if self.language == "zh" else ".")

    def faq_page(self) -> Page:
        """Questions with answers, in phrasings other than the benchmark's."""
        blocks = [self._join([self._filler()])]
        for _ in range(self.rng.randint(6, 8)):
            entity, attribute = self._questions.draw()
            blocks.append(
                self._asked(
                    self._phrase(entity, attribute, "faq"), entity.facts[attribute][self.language]
                )
            )
        return Page(self.language, "faq", self._title("faq"), tuple(blocks))

    def leak_pages(self) -> Iterator[Page]:
        """The benchmark's leaked items, verbatim."""
        deck = Deck(self.items, self.rng)
        for _ in range(len(self.items) * PAGES_PER_LEAKED_ITEM // LEAKED_ITEMS_PER_PAGE):
            chosen = {item.id: item for item in (deck.draw() for _ in range(LEAKED_ITEMS_PER_PAGE))}
            blocks = [self._join([self._filler(), self._filler()])]
            blocks += [
                self._asked(item.question, item.choices[item.answer]) for item in chosen.values()
            ]
            yield Page(self.language, "leak", self._title("leak"), tuple(blocks))
