"""What a base model's licence is, and what it asks."""

from pathlib import Path

import pytest

from globalprune.card.licences import (
    DUTIES,
    HUB_NAMES,
    TEXTS,
    Licence,
    missing_prefix,
    read_licence,
)


def folder_with(tmp_path: Path, **files: str) -> Path:
    """A model's folder with these files; `README` and `LICENSE`."""
    for name, text in files.items():
        (tmp_path / f"{name}.md").write_text(text)
    return tmp_path


CARDS = [
    pytest.param("license: mit", "mit", id="plain"),
    pytest.param("license: other\nlicense_name: qwen-research", "qwen-research", id="own name"),
    pytest.param("license: other", "other", id="no name"),
    pytest.param('license: "llama3.1"', "llama3.1", id="quoted"),
]


@pytest.mark.parametrize(("matter", "name"), CARDS)
def test_the_cards_word_counts(tmp_path: Path, matter: str, name: str) -> None:
    """Before the text of a file, and with its own name where the Hub has none."""
    text = "Apache License, Version 2.0"
    folder = folder_with(tmp_path, README=f"---\n{matter}\n---\n# A model\n", LICENSE=text)
    licence = read_licence(folder, ["LICENSE.md"])
    assert licence.name == name
    assert licence.duties is DUTIES[name]


TEXT_HEADS = [
    ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT\nMeta Llama 3 Version Release Date: ...", "llama3"),
    ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "llama3.1"),
    ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT", "llama3.2"),
    ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"),
    ("                    Apache License\n              Version 2.0, January 2004", "apache-2.0"),
    ("MIT License\n\nCopyright (c) somebody", "mit"),
    ("Gemma Terms of Use\n\nLast modified", "gemma"),
]


@pytest.mark.parametrize(("head", "name"), TEXT_HEADS, ids=[name for _, name in TEXT_HEADS])
def test_a_text_names_itself(tmp_path: Path, head: str, name: str) -> None:
    """Where the card is silent, the licence file is asked, and the Hub's word is carried over."""
    licence = read_licence(folder_with(tmp_path, LICENSE=head), ["LICENSE.md"])
    assert (licence.name, licence.front_matter) == (name, (("license", name),))


def test_every_text_has_its_duties() -> None:
    """A licence that is recognised must not fall back to general advice."""
    assert {name for _, name in TEXTS} | HUB_NAMES <= DUTIES.keys()


BROKEN = [
    pytest.param("no front matter at all", id="none"),
    pytest.param("---\nlicense: mit\nnever closed", id="open"),
    pytest.param("---\nlicense: [mit\n---\n", id="no YAML"),
    pytest.param("---\n- a\n- list\n---\n", id="a list"),
    pytest.param("---\nx: !!omap [{? {a: b}: 1}]\n---\n", id="a mapping in a key"),
    pytest.param("---\nlicense: [mit, apache-2.0]\n---\n", id="several"),
    pytest.param("", id="empty"),
]


@pytest.mark.parametrize("readme", BROKEN)
def test_a_card_that_says_nothing_is_no_error(tmp_path: Path, readme: str) -> None:
    """A strange README must not stop a cut; the licence is then unknown, never guessed."""
    licence = read_licence(folder_with(tmp_path, README=readme), [])
    assert licence == Licence()
    assert "Read the licence" in licence.duties.advice


def test_link_and_name_are_carried_over_as_they_stand(tmp_path: Path) -> None:
    """The Hub wants all three, and nothing else of the card is ours to repeat."""
    card = "---\nlicense: other\nlicense_name: own\nlicense_link: https://x.y\ntags: [a]\n---\n"
    licence = read_licence(folder_with(tmp_path, README=card))
    assert dict(licence.front_matter) == {
        "license": "other",
        "license_name": "own",
        "license_link": "https://x.y",
    }
    assert licence.link == "https://x.y"


NAMES = [
    ("llama3", "Llama-3-8B-pruned", True),
    ("llama3", "llama_3 small", True),
    ("llama3", "Llama-small", False),
    ("llama3", "My-Llama-3", False),
    ("llama3.1", "Llama-small", True),
    ("llama3.3", "small", False),
    ("llama2", "small", True),
    ("apache-2.0", "anything", True),
    ("mit", "anything", True),
]


@pytest.mark.parametrize(("licence", "name", "fits"), NAMES)
def test_a_name_must_begin_as_the_licence_wants(licence: str, name: str, *, fits: bool) -> None:
    """Hyphens, spaces and case don't count; only Llama 3 and later have such a rule."""
    assert (missing_prefix(DUTIES[licence], name) is None) == fits


STRANGE = [
    pytest.param(r'license: "mit\n\n# Injected\n<script>alert(3)</script>"', id="markup"),
    pytest.param("license: '[click](javascript:alert(1))'", id="link"),
    pytest.param("license: other\nlicense_name: 'a | <b> | c'", id="table"),
    pytest.param("license: &a [*a]\nx: " + "[" * 5000, id="deep"),
]


@pytest.mark.parametrize("matter", STRANGE)
def test_a_field_that_is_no_name_is_not_taken_over(tmp_path: Path, matter: str) -> None:
    """What a stranger's card says of its licence is an identifier, or it is nothing."""
    licence = read_licence(folder_with(tmp_path, README=f"---\n{matter}\n---\n"))
    assert licence.name in {None, "other"}
    assert all(value == "other" for _, value in licence.front_matter)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x/<b>", "https://x/ y", "../up"])
def test_only_links_of_the_web_and_names_of_files_are_links(tmp_path: Path, link: str) -> None:
    """A page of the web or a file that lies beside the card."""
    matter = f"license: mit\nlicense_link: '{link}'"
    assert read_licence(folder_with(tmp_path, README=f"---\n{matter}\n---\n")).link is None
    for fine in ("https://a.org/l.txt?x=1#y", "LICENSE.md"):
        matter = f"license: mit\nlicense_link: {fine}"
        assert read_licence(folder_with(tmp_path, README=f"---\n{matter}\n---\n")).link == fine
