"""Artificial text for tests: words prefer certain followers, so n-grams repeat as in prose."""

import random


def made_up(documents: int, words: int = 60, seed: int = 0) -> list[str]:
    """`documents` texts of 5 to 60 words, from a vocabulary of `words` two-syllable words."""
    generator = random.Random(seed)
    syllables = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
    vocabulary = [generator.choice(syllables) + generator.choice(syllables) for _ in range(words)]
    followers = {word: generator.choices(vocabulary, k=5) for word in vocabulary}
    texts = []
    for _ in range(documents):
        text = [generator.choice(vocabulary)]
        for _ in range(generator.randint(4, 59)):
            text.append(
                generator.choice(followers[text[-1]] if generator.random() < 0.9 else vocabulary)
            )
        texts.append(" ".join(text))
    return texts
