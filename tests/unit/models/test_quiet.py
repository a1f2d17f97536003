"""Loading is silent, and afterwards transformers is as it was."""

import sys

import pytest
from transformers.utils import logging as transformers_logging

from globalprune.models.quiet import quiet_transformers


def test_nothing_is_written_and_everything_is_set_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Even when the load fails."""
    transformers_logging.enable_progress_bar()
    before = transformers_logging.get_verbosity()

    def load() -> None:
        with quiet_transformers():
            assert not transformers_logging.is_progress_bar_enabled()
            sys.stderr.write("noise")
            raise ValueError("as it should")

    with pytest.raises(ValueError, match="as it should"):
        load()
    assert capsys.readouterr().err == ""
    assert transformers_logging.get_verbosity() == before
    assert transformers_logging.is_progress_bar_enabled()
