"""Digests that others can compute, and versions that tell."""

import hashlib

from globalprune.artifacts.provenance import digest_bytes, digest_json, tool_versions


def test_digests_can_be_computed_without_us() -> None:
    """SHA-256 of the bytes; of JSON in one spelling, whatever the order of the keys."""
    expected = "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert digest_bytes(b"a", memoryview(b"bc")) == expected
    spelling = '{"a":[1,"\\u00e4"],"b":null}'
    assert digest_json({"b": None, "a": [1, "ä"]}) == digest_bytes(spelling.encode())


def test_versions_name_what_can_change_a_figure() -> None:
    """Python and torch for two."""
    assert {"python", "globalprune", "torch", "transformers"} <= tool_versions().keys()
