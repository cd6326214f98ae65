"""Paraphrases made by rule, so that a benchmark knows which documents say the same."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_SYNONYMS = """\
big large|small little|begin start|buy purchase|help assist|show demonstrate|use employ|need require
make create|get obtain|find discover|think believe|say state|tell inform|ask inquire|keep retain
give provide|try attempt|end finish|choose select|build construct|fix repair|allow permit|stop halt
important significant|good fine|great excellent|bad poor|easy simple|hard difficult|quick fast
new recent|old ancient|many numerous|several various|whole entire|main primary|often frequently
usually normally|also additionally|but however|because since|about regarding|near close
people individuals|children kids|home house|job work|money funds|company firm|city town|car vehicle
road street|picture image|idea concept|problem issue|answer response|way method|part portion
place location|thing item|year twelvemonth|day date|area region|world globe|story tale|book volume
business enterprise|customer client|product article|price cost|quality standard|team group
student pupil|teacher instructor|doctor physician|food nourishment|water liquid|friend companion
beautiful lovely|happy glad|sad unhappy|rich wealthy|smart clever|strange odd|quiet silent
really truly|very extremely|almost nearly|maybe perhaps|always constantly|together jointly
today nowadays|right correct|increase grow|decrease shrink|improve better|change alter
learn study|explain clarify|describe depict|offer present|receive accept|send dispatch|visit attend
love adore|like enjoy|want desire|hope wish|look glance|see observe|hear listen|speak talk|write pen
"""

_REWRITES = (
    (r"\bdo not\b", "don't"), (r"\bdon't\b", "do not"), (r"\bcan't\b", "cannot"),
    (r"\bcannot\b", "can not"), (r"\bit's\b", "it is"), (r"\bI'm\b", "I am"),
    (r"\bI've\b", "I have"), (r"\byou're\b", "you are"), (r"\bthey're\b", "they are"),
    (r"\bwe're\b", "we are"), (r"\bwon't\b", "will not"), (r"\bisn't\b", "is not"),
    (r"\bis\b not", "isn't"), (r"\bin order to\b", "to"), (r"\bdue to\b", "because of"),
    (r"\ba lot of\b", "lots of"), (r"\bsuch as\b", "like"), (r"\bfor example\b", "for instance"),
    (r"\bas well as\b", "and"), (r"\bable to\b", "capable of"), (r"\bwhich is\b", "that is"),
    (r"\bwho is\b", "who's"), (r"\bthe fact that\b", "that"), (r"\bat this time\b", "now"),
    (r"\bwill be\b", "is going to be"), (r"\bhas been\b", "was"), (r"\bhave been\b", "were"),
    (r"\bone\b", "1"), (r"\btwo\b", "2"), (r"\bthree\b", "3"), (r"\bten\b", "10"),
    (r"\bpercent\b", "per cent"), (r" & ", " and "), (r"\b(\w{4,})ly\b ", ""),
    (r"\bsome of the\b", "some"), (r"\ball of the\b", "all the"), (r"\bthere are\b", "one finds"),
    (r"\bthere is\b", "one finds"), (r"\bthis\b", "that"), (r"\bthese\b", "those"),
)  # fmt: skip


def _table() -> dict[str, str]:
    pairs = [pair.split() for line in _SYNONYMS.splitlines() for pair in line.split("|")]
    return dict(pairs) | {other: one for one, other in pairs}


_SYNONYM_OF = _table()


def sentences(text: str) -> list[str]:
    """A text's sentences."""
    return [one for one in re.split(r"(?<=[.!?])\s+", text.strip()) if one]


def reordered(text: str, rng: random.Random) -> str:
    """The sentences in another order."""
    found = sentences(text)
    rng.shuffle(found)
    return " ".join(found)


def reworded(text: str, rng: random.Random) -> str:
    """Every word that has a synonym in the list replaced by it."""

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        other = _SYNONYM_OF.get(word.lower())
        if other is None:
            return word
        return other.capitalize() if word[0].isupper() else other

    return re.sub(r"[A-Za-z]+", swap, text)


def rewritten(text: str, rng: random.Random) -> str:
    """Rules of style applied, and the halves of "X, Y." turned round where a comma allows it."""
    for pattern, by in _REWRITES:
        text = re.sub(pattern, by, text)
    turned = []
    for sentence in sentences(text):
        head, comma, tail = sentence.rstrip(".!?").partition(", ")
        if comma and len(head.split()) > 3 and len(tail.split()) > 3:
            tail = tail[0].upper() + tail[1:]
            sentence = f"{tail}, {head[0].lower()}{head[1:]}."
        turned.append(sentence)
    return " ".join(turned)


def everything(text: str, rng: random.Random) -> str:
    """All of it."""
    return reordered(rewritten(reworded(text, rng), rng), rng)


KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "sentences reordered": reordered,
    "synonyms": reworded,
    "rewritten by rule": rewritten,
    "all three": everything,
}
