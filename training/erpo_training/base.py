"""The base model's folder: a folder as given, or a snapshot of a hub id. Knows nothing of the embedded model (the server does)."""

from pathlib import Path


class BaseError(ValueError):
    """No base model there; the message names it and the remedy."""


def base_folder(base: str) -> Path:
    """The folder that holds a base model. Raises `BaseError`."""
    folder = Path(base)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BaseError(f"base {base!r}: no config.json in this folder; give a folder that transformers can load")
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base, allow_patterns=["*.json", "*.safetensors", "*.jinja", "tokenizer*"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise BaseError(f"base {base!r}: neither a folder nor a model that the hub gives: {reason}") from error
