"""Digests by which answers are known to be of the same questions."""

from typing import Any

import pytest

from globalprune.evaluate.task_digests import config_digest, documents_digest


class Asked:
    """A task as far as its digests go."""

    def __init__(self, config: dict[str, Any], documents: list[dict[str, Any]]) -> None:
        self._config, self._documents = config, documents

    def dump_config(self) -> dict[str, Any]:
        """The definition."""
        return self._config

    def doc_iterator(self, limit: int | None) -> Any:
        """The documents, numbered."""
        return enumerate(self._documents[:limit])


DOCUMENTS: list[dict[str, Any]] = [{"q": "one"}, {"q": "two"}]
CONFIG: dict[str, Any] = {"doc_to_text": "{{q}}", "metadata": {"version": 1, "config_source": "/a"}}


@pytest.mark.parametrize("other", [DOCUMENTS[::-1], DOCUMENTS[:1], [{"q": "one"}, {"q": "too"}]])
def test_other_documents_have_another_digest(other: list[dict[str, Any]]) -> None:
    """Their order counts, since answers are paired by it; what a limit leaves out doesn't."""
    ours = documents_digest(Asked(CONFIG, DOCUMENTS), None)
    assert documents_digest(Asked(CONFIG, other), None) != ours
    assert documents_digest(Asked(CONFIG, DOCUMENTS), 1) == documents_digest(
        Asked(CONFIG, DOCUMENTS[:1]), None
    )


def test_a_definition_is_the_same_wherever_it_lies() -> None:
    """Nor does it matter where in memory a function of it lies; what it says does."""
    moved = {"doc_to_text": "{{q}}", "metadata": {"version": 1, "config_source": "/b"}}
    assert config_digest(Asked(moved, [])) == config_digest(Asked(CONFIG, []))
    functions: list[dict[str, Any]] = [CONFIG | {"process": lambda: 1} for _ in range(2)]
    first, second = (config_digest(Asked(config, [])) for config in functions)
    assert first == second != config_digest(Asked(CONFIG, []))
    newer = CONFIG | {"metadata": {"version": 2}}
    assert config_digest(Asked(newer, [])) != config_digest(Asked(CONFIG, []))
