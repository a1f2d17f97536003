"""A Hub whose downloads a test decides."""

from collections.abc import Callable

import huggingface_hub
import pytest

Hub = Callable[..., str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hub], None]:
    """Put a function in the place of the Hub's download."""

    def use(download: Hub) -> None:
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    return use
