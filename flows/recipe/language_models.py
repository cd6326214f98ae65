"""The recipe's sections `language_models` and `percentiles`: what perplexity is measured by."""

from __future__ import annotations

from typing import Any, Self

import pydantic

from flows.recipe.evaluated import Name
from infra.stage import Parameters
from tasks.language_model.stage import LanguageModelParameters


class LanguageModelSection(LanguageModelParameters):
    """A language model trained on the reference text of `sources`, or one trained elsewhere; its
    key is the language.

    `folder` names models trained elsewhere in cc_net's layout: `LANGUAGE.arpa.bin` and
    `LANGUAGE.sp.model`, with the key as the language; it may be on the hub (`org/name`,
    `org/name@revision`, or `hf://` with a folder).
    """

    language: str = ""
    sources: tuple[Name, ...] = ()
    folder: str | None = pydantic.Field(default=None, min_length=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _files_in_folder(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("folder"), str):
            return data
        if stated := [name for name in ("lm", "sentencepiece") if data.get(name) is not None]:
            raise ValueError(
                f"`folder` names both files; remove {' and '.join(stated)}, or remove `folder`"
            )
        start = f"{data['folder'].rstrip('/')}/{data.get('language', '')}"
        return {**data, "lm": f"{start}.arpa.bin", "sentencepiece": f"{start}.sp.model"}

    @pydantic.model_validator(mode="after")
    def _trained_here_or_elsewhere(self) -> Self:
        if not self.pretrained:
            if not self.sources:
                raise ValueError(
                    "has nothing to learn from; name the `sources` it is trained on, or the "
                    "`folder` of a model that is trained already"
                )
            return self
        of_files = {"language", "folder", "lm", "sentencepiece", "normalise_without"}
        meaningless = self.model_fields_set - of_files
        if meaningless:
            raise ValueError(
                f"{', '.join(sorted(meaningless))}: of training, and this model is trained already "
                f"({self.lm}); remove this, or `folder`, `lm` and `sentencepiece`"
            )
        return self


class Percentiles(Parameters):
    """Percentiles of perplexity that separate head, middle and tail in each language."""

    head: float = pydantic.Field(default=30.0, ge=0.0, le=100.0)
    middle: float = pydantic.Field(default=60.0, ge=0.0, le=100.0)

    @pydantic.model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.head > self.middle:
            raise ValueError(
                f"head is percentile {self.head:g}, above middle's {self.middle:g}; head must not "
                "be higher than middle"
            )
        return self
