"""The names that `import globalprune` gives are the promised ones."""

import importlib

import globalprune


def test_all_is_sorted_and_real() -> None:
    """Each name of `__all__` can be had."""
    assert sorted(globalprune.__all__) == globalprune.__all__
    for name in globalprune.__all__:
        assert getattr(globalprune, name) is not None


def test_version_is_the_installed_one() -> None:
    """`__version__` and the package's metadata agree."""
    assert globalprune.__version__ == importlib.import_module("importlib.metadata").version(
        "globalprune"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy door opens only for the names that exist."""
    assert not hasattr(globalprune, "load_modle")
