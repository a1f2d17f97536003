"""docs/families.md tells the truth: its table is that of the code."""

import re
from pathlib import Path

from globalprune.artifacts.plans.gguf_layout import GGUF_FORMS
from globalprune.models.gated_decoder.adapter import GatedDecoder
from globalprune.models.gated_decoder.form import LayerForm
from globalprune.models.registry import ADAPTERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "families.md").read_text("utf-8")
COLUMNS = 5  # of the table by hand; what the benchmark makes has fewer
ROWS = {
    cells[1].strip("`"): cells
    for line in PAGE.splitlines()
    if line.startswith("|")
    and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == COLUMNS
    and re.fullmatch(r"`\w+`", cells[1])
    and cells[0] != "family"
}


def test_every_family_has_a_row_and_no_row_lacks_its_family() -> None:
    """In the order of the registry."""
    assert list(ROWS) == list(ADAPTERS)


def test_the_rows_say_what_can_be_cut_and_exported() -> None:
    """As the facts have it."""
    for name, (_, _, cut, _, exported) in ROWS.items():
        adapter = ADAPTERS[name]
        assert isinstance(adapter, GatedDecoder)
        assert cut == _cut(adapter.form)
        assert exported == ("yes" if name in GGUF_FORMS else "no")


def _cut(form: LayerForm) -> str:
    """What of a layer may go."""
    if form.fixed:
        return "MLP only"
    return "attention and experts' channels" if form.mixture else "attention and MLP"


def test_the_entry_on_the_page_is_the_one_in_the_registry() -> None:
    """Whoever copies it begins with what works."""
    [entry] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in entry.splitlines()]
    registry = (ROOT / "globalprune" / "models" / "registry.py").read_text("utf-8")
    assert "\n".join(lines) in "\n".join(line.strip() for line in registry.splitlines())
