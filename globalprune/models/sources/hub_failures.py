"""What is said when a model can't be had from the Hub: what went wrong, and what to do."""


def hub_failure(
    text: str, hub_id: str, revision: str | None, file: str | None, error: Exception
) -> str:
    """Put an error of the Hub's client into words; `file` is the GGUF file that was asked for."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return (
                f"{text}: the model is gated; accept its terms at https://huggingface.co/{hub_id} "
                "and log in with `hf auth login`."
            )
        case RepositoryNotFoundError():
            return (
                f"{text}: is no local path, and the Hub has no such public model; mend the name, "
                "or log in with `hf auth login` if it is private."
            )
        case RevisionNotFoundError():
            return f"{text}: the Hub model has no revision {revision!r}; name one that it has."
        case LocalEntryNotFoundError():  # an EntryNotFoundError too, but of a network
            found = "is no local path and not in the local Hub cache, and the Hub can't be reached"
        case EntryNotFoundError():
            return no_config(text) if file is None else _no_file(text, hub_id, file)
        case _:
            found = f"can't be fetched from the Hub ({_first_line(error)})"
    wanted, instead = (hub_id, "a folder") if file is None else (f"{hub_id} {file}", "a local file")
    return (
        f"{text}: {found}; download it where there is a network (`hf download {wanted}`), "
        f"or give {instead}."
    )


def no_config(text: str) -> str:
    """Say that a model on the Hub has none, and what it may have instead."""
    return (
        f"{text}: this Hub model has no config.json; if it holds GGUF files, name one of them: "
        f"{text}/FILE.gguf"
    )


def _no_file(text: str, hub_id: str, file: str) -> str:
    return (
        f"{text}: the Hub model has no file {file}; its files are listed at "
        f"https://huggingface.co/{hub_id}/tree/main"
    )


def _first_line(error: Exception) -> str:
    """The head of a message, or the error's kind when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
