"""What a recipe says of a data set -> one of its configurations and splits, by its README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.remote.errors import NoSuchObject
from infra.remote.hub_names import Repository, nearest, shortened
from infra.stage import StageError
from tasks.ingest.hub.commit_files import README, STANDALONE, CommitFiles


@dataclass(frozen=True)
class Wanted:
    """What a recipe says of a data set; "" and () for what it does not say."""

    dataset: str
    name: str = ""
    split: str = ""
    revision: str = ""
    data_files: tuple[str, ...] = ()


def card_of(repository: Repository, source: CommitFiles) -> Any:
    """`configs:` of README, and of the file that may stand in for it. Raises `StageError` where
    these cannot be read: they are strangers' YAML.
    """
    readme, standalone = source.read(README), source.read(STANDALONE)
    try:
        return _parsed(readme or "", standalone or "")
    except Exception as error:  # of YAML, or of a library that is given what it does not expect
        first = (str(error).strip().splitlines() or [""])[0]
        raise StageError(
            f"what the {repository} says of its configurations (configs: in {README} or "
            f"{STANDALONE}) cannot be read ({type(error).__name__}: {first[:200]}); choose files "
            "with data_files"
        ) from None


def _parsed(readme: str, standalone: str) -> Any:
    import yaml
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData
    from huggingface_hub.repocard import DatasetCard

    data: Any = DatasetCard(readme, ignore_metadata_errors=True).data if readme else None
    data = data or DatasetCardData()
    if stated := yaml.safe_load(standalone):
        data = DatasetCardData(**{**data.to_dict(), **stated})
    return MetadataConfigs.from_dataset_card_data(data)


_NO_OPTIONS = {"default", "features", "version", "description", "drop_labels"}


def configuration_of(
    repository: Repository, wanted: Wanted, configurations: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """(its name, what README says of it). Raises `NoSuchObject` with what there is."""
    known = list(configurations)
    if wanted.data_files and not wanted.name:
        return "", {}
    if not known:
        if wanted.name not in ("", "default"):
            raise NoSuchObject(
                f"the {repository} has no configurations, so none named {wanted.name!r}; remove "
                "name, or choose files with data_files"
            )
        return "default", {}
    name = wanted.name or configurations.get_default_config_name()  # type: ignore[attr-defined]
    if name is None:
        raise NoSuchObject(
            f"the {repository} has {len(known)} configurations; name one of {shortened(known)}"
        )
    if name not in configurations:
        raise NoSuchObject(
            f"the {repository} has no configuration {name!r}{nearest(name, known)}; it has "
            f"{shortened(known)}"
        )
    found = configurations[name]
    return name, {key: value for key, value in found.items() if key not in _NO_OPTIONS}


def require_own(repository: Repository, places: Iterable[str]) -> None:
    """Raise `StageError` where a card names files that are not its repository's: a stranger's card
    is to make no other server, and no folder of this machine, be asked.
    """
    for place in places:
        if "://" in place or "::" in place or place.startswith("/") or ".." in place.split("/"):
            raise StageError(
                f"the card of the {repository} names {place[:200]!r}, which is no file of it; "
                "choose files with data_files"
            )


def split_of(repository: Repository, wanted: Wanted, name: str, known: list[str]) -> str:
    """The split that is wanted, of those known. Raises `NoSuchObject` with what there is."""
    known = [str(split) for split in known]
    what = f"configuration {name!r} of the {repository}" if name else f"the {repository}"
    if wanted.split in known:
        return wanted.split
    if wanted.split:
        raise NoSuchObject(
            f"{what} has no split {wanted.split!r}{nearest(wanted.split, known)}; it has "
            f"{shortened(known)}"
        )
    if len(known) == 1 or "train" in known:
        return "train" if "train" in known else known[0]
    raise NoSuchObject(f"{what} has {len(known)} splits; name one of {shortened(known)}")
