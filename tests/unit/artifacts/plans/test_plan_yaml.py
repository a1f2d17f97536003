"""Files that are no YAML mapping at all, and the lines that problems are given."""

from pathlib import Path

import pytest
from artifact_values import FORMAT, plan_at

from globalprune.artifacts.plans.index_set import IndexSet
from globalprune.artifacts.plans.plan import LayerCuts, PrunePlan
from globalprune.artifacts.plans.plan_file import read_plan, write_plan
from globalprune.artifacts.plans.plan_yaml import (
    LinedDict,
    Problem,
    format_location,
    line_of,
    load_document,
    read_content,
)
from globalprune.errors import PlanInvalid

BEGIN = r"a plan is a mapping that starts with `format: globalprune\.plan/1`\."


def loaded(path: Path) -> tuple[LinedDict, list[Problem]]:
    """The mapping of a file, and the keys that it repeats."""
    return load_document(path, read_content(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", rf"the file is empty; {BEGIN}"),
        (b"# all is commented out\n", rf"the file is empty; {BEGIN}"),
        (b"- 1\n- 2\n", rf"the file holds a list at the top; {BEGIN}"),
        (b"hello\n", rf"the file holds a single value at the top; {BEGIN}"),
        (
            b"a: 1\nlayers: {0: {mlp: 1}\n",
            r"line 3: is not YAML \(.*\); see that quotes and",
        ),
        (b"a: 1\n\tb: 2\n", r"line 2: is not YAML \(found a tab character that violates "),
        (b"a: *nowhere\n", r"line 1: is not YAML \(found undefined alias 'nowhere'\)"),
        (b"a: 1\n---\nb: 1\n", r"line 2: is not YAML \(but found another document\)"),
        (b'a: "\x00"\n', r"is not YAML \(control characters are not allowed\); see that"),
        (b"[" * 100_000, r"line 1: is not YAML \(is nested deeper than 50 levels\); see that"),
        (b"a: &a [*a]\n", r"line 1: is not YAML \(found undefined alias 'a'\)"),
        (b"a: 9" + b"9" * 5000, r"is not YAML \(Exceeds the limit"),
        (b"a: 1\nb: \xfc\n", r"byte 8 is not UTF-8; save the file as UTF-8 text\."),
        (b"a: 1\n? {a: {b: c}}\n: 1\n", r"line 2: is not YAML \(a key is a list or a mapping\)"),
        (b"a: &a [1]\n*a : 1\n", r"line 2: is not YAML \(a key is a list or a mapping\)"),
    ],
    ids=[
        "empty",
        "comments only",
        "list",
        "scalar",
        "open brace",
        "tab",
        "alias",
        "two documents",
        "NUL",
        "deep",
        "a value in itself",
        "thousands of digits",
        "Latin-1",
        "mapping in a key",
        "alias of a list as a key",
    ],
)
def test_what_is_no_yaml_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """One message with the file, the line where there is one, and what to do."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanInvalid, match=rf"plan\.yaml: 1 problem\n  {message}"):
        loaded(path)


@pytest.mark.parametrize("name", ["nowhere.yaml", "."], ids=["no file", "a folder"])
def test_a_file_that_cannot_be_read_is_a_problem_of_the_plan(tmp_path: Path, name: str) -> None:
    """The system's reason is passed on."""
    with pytest.raises(PlanInvalid, match=r"can't be read \(.+\); name a file that gp plan wrote"):
        read_content(tmp_path / name)


def test_every_repeated_key_is_found_at_once(tmp_path: Path) -> None:
    """At any depth, each with both of its lines; YAML readers disagree on which one wins."""
    lines = ["layers:", "  3: {mlp: 1}", "  4: {mlp: 1, mlp: 2}", "  3: {mlp: 5}", FORMAT]
    _, problems = loaded(plan_at(tmp_path / "plan.yaml", *lines))
    assert sorted(problems) == [
        (4, "layers.4.mlp: stands here again (first in line 4); keep one of the two."),
        (5, "layers.3: stands here again (first in line 3); keep one of the two."),
        (6, "format: stands here again (first in line 1); keep one of the two."),
    ]


def test_a_key_in_two_spellings_of_a_number_is_repeated(tmp_path: Path) -> None:
    """A person who writes 07 means 7."""
    lines = ["layers:", "  7: {mlp: 1}", "  07: {mlp: 2}", "  1: {}", "  true: {}"]
    _, problems = loaded(plan_at(tmp_path / "plan.yaml", *lines))
    again = "stands here again (first in line {}); keep one of the two."
    assert problems == [
        (4, f"layers.07: {again.format(3)}"),
        (6, f"layers.true: {again.format(5)}"),  # Python can't hold both
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("True", True),
        ("1:30", "1:30"),
        ("2001-01-02", "2001-01-02"),
        ("1_000", "1_000"),
        ("=", "="),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ("# a comment", None),
        ("a # b", "a"),
        ("a#b", "a#b"),
        ("'on'  # quoted", "on"),
        ('"7"', "7"),
        ("! 7", "7"),
        ("!!str 7", "7"),
        ("!!int 7", 7),
        ("[a, 2]", ["a", 2]),
        ("|\n  a\n  b", "a\nb\n"),
        ("&x 3", 3),
    ],
)
def test_values_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    """Not of 1.1, by which `on` is true, 1:30 is ninety and 010 is eight."""
    document, problems = loaded(plan_at(tmp_path / "plan.yaml", f"a: {text}"))
    assert (document["a"], type(document["a"])) == (value, type(value))
    assert not problems


@pytest.mark.parametrize("text", ["!group 7", "!!int seven", "!!omap [7: 1]", "!!set {7}"])
def test_a_value_with_a_tag_is_kept_apart(tmp_path: Path, text: str) -> None:
    """No rule takes it, and whoever shows it shows the tag."""
    document, _ = loaded(plan_at(tmp_path / "plan.yaml", f"a: {text}"))
    assert repr(document["a"]).startswith(text.split(maxsplit=1)[0] + " ")


def test_what_is_merged_gives_way_to_what_is_there(tmp_path: Path) -> None:
    """`<<` brings the keys of one mapping or of several; the first of them counts."""
    lines = ["a: &a {x: 1, y: 1}", "b: {y: 2, <<: *a}", 'c: {<<: [*a, {y: 3, z: 3}], "<<": 4}']
    document, problems = loaded(plan_at(tmp_path / "plan.yaml", *lines))
    assert not problems
    assert document["b"] == {"y": 2, "x": 1}
    assert document["c"] == {"<<": 4, "x": 1, "y": 1, "z": 3}


@pytest.mark.parametrize("encoded", ["\ufeff{}", "{}"], ids=["BOM", "plain"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_editors_of_every_system_are_understood(tmp_path: Path, encoded: str, newline: str) -> None:
    """A byte order mark and any line ending; lines are counted as the editor counts them."""
    path = tmp_path / "plan.yaml"
    text = newline.join([FORMAT, "layers:", "  7:", "    mlp: 1", ""])
    path.write_bytes(encoded.replace("{}", text).encode())
    document, problems = loaded(path)
    assert not problems
    assert document == {"format": "globalprune.plan/1", "layers": {7: {"mlp": 1}}}
    assert line_of(document, ("layers", 7, "mlp")) == 4


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), 1),
        (("layers",), 3),
        (("layers", 7, "mlp"), 5),
        (("layers", 8, "attention"), 6),
        (("layers", 8, "nowhere"), 6),
        (("layers", 9), 3),
        (("pin", 7), 1),
        (("layers", 10, "mlp"), 7),
    ],
    ids=str,
)
def test_a_problem_has_the_line_of_its_key_or_of_what_is_around_it(
    tmp_path: Path, location: tuple[int | str, ...], line: int
) -> None:
    """What is missing is missed where it would stand; a tagged value and a merge know no lines."""
    lines = [
        "# a comment",
        "layers:",
        "  7:",
        "    mlp: 1",
        "  8: {attention: 1, mlp: 2}",
        "  10: {<<: {mlp: 3}}",
        "omap: !!omap [7: 1]",
    ]
    document, _ = loaded(plan_at(tmp_path / "plan.yaml", *lines))
    assert line_of(document, location) == line
    assert line_of(document, ("omap", 7)) == 8


def test_a_location_is_spelled_with_dots() -> None:
    """As a person would say it; the whole file needs no name."""
    assert format_location(("layers", 3, "mlp")) == "layers.3.mlp: "
    assert format_location(()) == ""


EVENS = IndexSet.of(range(0, 600, 2))


def folded(ranges: IndexSet) -> str:
    """As a person's editor may wrap it: a break behind every tenth index."""
    words = str(ranges).split(", ")
    lines = [", ".join(words[at : at + 10]) for at in range(0, len(words), 10)]
    return ",\n      ".join(lines)


def test_long_sets_are_written_in_lines_and_read_back(tmp_path: Path) -> None:
    """Whatever their length."""
    layers = {layer: LayerCuts(mlp=IndexSet.of(range(0, layer * 7, 2))) for layer in range(90)}
    plan = PrunePlan(layers=layers)
    path = tmp_path / "plan.yaml"
    write_plan(path, plan, header=["as generated: nothing"], overwrite=False)

    assert read_plan(path).layers == plan.layers
    assert max(map(len, path.read_text("utf-8").splitlines())) <= 104


def test_problems_behind_long_sets_keep_their_lines(tmp_path: Path) -> None:
    """In the same layer, in the next one, and in the set itself."""
    long = folded(EVENS)
    text = f'layers:\n  0: {{mlp: "{long}", atention: "1"}}\n  1: {{mlp: "{long}, 3-x"}}\n  2: 7\n'
    path = plan_at(tmp_path / "plan.yaml", text)
    lines = path.read_text("utf-8").splitlines()
    with pytest.raises(PlanInvalid) as caught:
        read_plan(path)

    said = [problem.split(": ", 1)[0] for problem in caught.value.problems]
    words = ("atention", "  1: ", "  2: ")
    places = [at for at, line in enumerate(lines, 1) if any(word in line for word in words)]
    assert said == [f"line {at}" for at in places]
    assert FORMAT in lines[0]


def test_a_repeated_key_behind_a_long_set_keeps_its_line(tmp_path: Path) -> None:
    """Lines are those of the file, however many a value takes."""
    text = f'layers:\n  0: {{mlp: "{folded(EVENS)}"}}\n  0: {{mlp: "1"}}\n'
    path = plan_at(tmp_path / "plan.yaml", text)
    last = path.read_text("utf-8").splitlines().index('  0: {mlp: "1"}') + 1
    with pytest.raises(PlanInvalid, match=rf"line {last}: layers\.0: stands here again"):
        read_plan(path)
