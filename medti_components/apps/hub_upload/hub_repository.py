# SPDX-License-Identifier: Apache-2.0
"""A model repository on the Hugging Face hub, or on a server of the same interface."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from medti_components.errors import ConfigError, OutputError
from medti_components.networks.embedding_files.embedding_file import printable

GIT_FILE = ".gitattributes"  # the hub's own
DEFAULT_BRANCH = "main"
REASONS = {
    401: "the hub does not accept the token: make one with write access, and log in anew by 'hf auth login'",
    403: "the token has no write access there: make one that has, or correct --repo_id",
}


class HubRepository:
    """A model repository; an upload makes it where it is missing.

    Args:
        repo_id: ``owner/name``.
        branch: of the repository; made where it is missing.
        endpoint: address of the hub; by default that of ``HF_ENDPOINT``, or huggingface.co.

    Raises:
        ConfigError: ``repo_id`` is not of that form.
    """

    def __init__(self, repo_id: str, branch: str = DEFAULT_BRANCH, endpoint: str = "") -> None:
        try:
            validate_repo_id(repo_id)
        except HFValidationError as error:
            raise ConfigError(f"repo_id must be owner/name, got '{printable(repo_id)}': correct --repo_id") from error
        if repo_id.count("/") != 1:
            raise ConfigError(f"repo_id must be owner/name, got '{repo_id}': correct --repo_id")
        self.repo_id = repo_id
        self.branch = branch
        self._api = HfApi(endpoint=endpoint or None)
        self.address = f"{self._api.endpoint}/{repo_id}"

    def upload(
        self, files: Mapping[str, Path], message: str, private: bool, tag: str = "", replace: bool = False
    ) -> Iterator[str]:
        """Put files into the repository as one commit, and yield a line on each step.

        Files that the repository has already are not uploaded again, also after an upload that broke off.

        Args:
            files: by their path in the repository.
            message: of the commit.
            private: whether a new repository is private; an existing one must then be private too.
            tag: a version to mark the commit with; "" for none.
            replace: remove all other files from the branch.

        Raises:
            ConfigError: no token is stored.
            OutputError: the hub refuses, can't be reached, or the upload breaks off; the repository is public although
                ``private``.
        """
        token = get_token()
        if not token:
            raise ConfigError(
                "no token of the hub is stored: log in by 'hf auth login' or set HF_TOKEN; --dry_run true shows what "
                "would be uploaded without one"
            )
        with self._readable_errors(token):
            info = self._found_or_made(token, private)
            if private and not info.private:
                raise OutputError(
                    f"repository '{self.repo_id}' is public: give --private false, make it private in its settings, "
                    "or choose another --repo_id"
                )
            if self.branch != DEFAULT_BRANCH:
                self._api.create_branch(self.repo_id, branch=self.branch, token=token, exist_ok=True)
                info = self._api.model_info(self.repo_id, revision=self.branch, token=token)
            there = {file.rfilename for file in info.siblings or ()} - files.keys() - {GIT_FILE}
            commit = self._api.create_commit(
                self.repo_id,
                [
                    *(CommitOperationAdd(name, path) for name, path in files.items()),
                    *(CommitOperationDelete(name) for name in sorted(there) if replace),
                ],
                commit_message=message,
                token=token,
                revision=self.branch,
            )
            if commit.oid == info.sha:
                yield f"nothing to upload: {self.address} has all of it"
            else:
                yield f"uploaded to {self.address}, branch {self.branch}, commit {commit.oid}"
            if there:
                names = ", ".join(sorted(there)[:5]) + (", ..." if len(there) > 5 else "")
                said = "removed" if replace else "also in it, removed by --replace true"
                yield f"{said}: {len(there)} files: {printable(names)}"
            if tag:
                yield self._tagged(token, tag, commit.oid)

    def _found_or_made(self, token: str, private: bool) -> ModelInfo:
        try:
            return self._api.model_info(self.repo_id, token=token)
        except RepositoryNotFoundError:
            self._api.create_repo(self.repo_id, private=private, token=token)
            return self._api.model_info(self.repo_id, token=token)

    def _tagged(self, token: str, tag: str, commit: str) -> str:
        tags = {ref.name: ref.target_commit for ref in self._api.list_repo_refs(self.repo_id, token=token).tags}
        if tag not in tags:
            self._api.create_tag(self.repo_id, tag=tag, revision=commit, token=token)
        elif tags[tag] != commit:
            return f"version {tag} stays at commit {tags[tag]}: package what is new as a new version to have it tagged"
        return f"version {tag} is commit {commit}"

    @contextmanager
    def _readable_errors(self, token: str) -> Iterator[None]:
        """Turn what the client raises into one line without the token."""
        try:
            yield
        except OutputError:
            raise
        except Exception as error:  # the client's errors come from several libraries
            status = _status(error)
            reason = printable(" ".join(str(error).split()).replace(token, "***"), 400)
            if status in REASONS:
                line = f"'{self.address}': {REASONS[status]}"
            else:
                line = (
                    f"the upload to '{self.address}' broke off ({reason}): give the same command again, what has "
                    "arrived is not uploaded twice"
                )
            raise OutputError(line) from None  # the client's own traceback may quote headers


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error."""
    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return int(error.response.status_code)
        error = error.__cause__ or error.__context__
    return None
