"""An export on its way to the Hugging Face hub: checked, listed, uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from selector.study import RequestError
from trainers.card import check_card
from trainers.errors import ExportError
from trainers.export_folder import CARD, MANIFEST, check_files, contents, inside, read_manifest


@dataclass(frozen=True)
class Plan:
    """What would be uploaded, where to."""

    folder: Path
    repository: str
    files: Mapping[str, int]
    """Path in the export -> bytes."""
    notes: tuple[str, ...]
    """What the user may want to know before, in lines."""


def planned(folder: Path, repository: str) -> Plan:
    """The files of an export, each compared with its hash.

    Raises:
        RequestError: if the repository cannot have that name.
        ExportError: if the folder is no whole export, or its card is malformed.
    """
    _check_name(repository)
    manifest = read_manifest(folder)
    if "files" not in manifest:
        raise ExportError(f"{str(folder)!r} was written by an older Peltier; export the study again")
    check_files(folder, manifest)
    try:
        check_card(inside(folder, CARD).read_text(encoding="utf-8"))
    except ValueError as error:
        if isinstance(error, ExportError):
            raise
        raise ExportError(f"{str(folder / CARD)!r}: {error}; correct it, or export the study again") from None
    names = [CARD, MANIFEST, *manifest["files"]]
    notes = [
        f"{name} is no part of the export and stays here"
        for name in contents(folder)
        if name not in manifest["files"]
    ]
    backbone = manifest["backbone"]
    if backbone.get("hub") is None:
        notes.append(
            f"{MANIFEST} names the backbone as the folder {backbone['reference']}, which others do not have"
        )
    if manifest.get("provenance"):
        notes.append(f"{MANIFEST} tells the command lines that trained and exported the module")
    return Plan(folder, repository, {name: (folder / name).stat().st_size for name in names}, tuple(notes))


def _check_name(repository: str) -> None:
    try:
        validate_repo_id(repository)
    except HFValidationError:
        pass
    else:
        if "/" in repository:
            return
    raise RequestError(
        f"{repository!r} is no repository; write OWNER/NAME with letters, digits, dashes, dots or underscores"
    )


def upload(plan: Plan, *, private: bool) -> str:
    """Upload exactly the files of a plan in one commit; returns the address.

    Raises:
        RequestError: without a token or network, if the hub refuses, or the repository is public already
            though `private` is wanted.
    """
    if huggingface_hub.get_token() is None:
        raise RequestError("no token of the hub is here; log in with: hf auth login, or see with --dry-run")
    api = huggingface_hub.HfApi()
    added = [huggingface_hub.CommitOperationAdd(name, str(plan.folder / name)) for name in plan.files]
    try:
        address = api.create_repo(plan.repository, private=private, exist_ok=True)
        if private and not api.model_info(plan.repository).private:
            raise RequestError(
                f"{plan.repository} is there already and public; pass --public to upload to it"
            )
        api.create_commit(plan.repository, added, commit_message="Upload a module exported by Peltier")
    except RequestError:
        raise
    except Exception as error:  # the hub's library and the network raise many kinds
        reason = (str(error).strip().splitlines() or [""])[0]
        raise RequestError(
            f"the hub did not take {plan.repository} ({type(error).__name__}: {reason}); check the network, "
            f"and that the token may write there"
        ) from None
    return str(address)
