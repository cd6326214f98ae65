"""What a pin is known by, and that manifests keep it."""

from __future__ import annotations

from infra.stage import UNKNOWN_BYTES, Pin
from infra.store.identity import version_of
from tests.toy import TOY, ToyParameters


def test_a_local_pin_is_known_and_written_as_before() -> None:
    pin = Pin("/data/a.warc.gz", "a.warc.gz", "ab" * 32, 12)
    assert pin.identity == "ab" * 32
    written = {"path": "/data/a.warc.gz", "name": "a.warc.gz", "sha256": "ab" * 32, "bytes": 12}
    assert pin.to_json() == written
    assert Pin.from_json(written) == pin


def test_a_remote_pin_is_known_by_the_best_that_was_read_without_it() -> None:
    tagged = Pin("s3://b/a.gz", "a.gz", "", 12, "9f-2")
    assert tagged.identity == "etag:9f-2:12"
    assert Pin.from_json(tagged.to_json()) == tagged
    assert Pin("https://h/a.gz", "c/a.gz", "", UNKNOWN_BYTES).identity == "name:c/a.gz"
    assert Pin("hf://datasets/o/n@c/a.gz", "a.gz", "cd" * 32, 12, "blob").identity == "cd" * 32


def test_a_version_follows_the_identity_and_not_the_address() -> None:
    def version(*pins: Pin) -> str:
        return version_of(TOY, "x", ToyParameters(), {}, {"paths": pins})

    here, there = Pin("/a", "a", "ab" * 32, 1), Pin("https://h/a", "a", "ab" * 32, 1, "tag")
    assert version(here) == version(there)
    older, newer = Pin("s3://b/a", "a", "", 1, "v1"), Pin("s3://b/a", "a", "", 1, "v2")
    assert version(older) != version(newer)
    assert version(older) == version(Pin("https://mirror/a", "a", "", 1, "v1"))
