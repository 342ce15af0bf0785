# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Hugging Face hub: the part of its HTTP interface that uploads and downloads of models use."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

from huggingface_hub import constants


class Repository:
    """What the server has of one repository: branches and tags by commit, files by commit."""

    def __init__(self, private):
        self.private = private
        self.commits = {"0" * 40: {".gitattributes": b"*.safetensors filter=lfs\n"}}
        self.refs = {"main": "0" * 40}
        self.tags = {}

    def commit_of(self, revision):
        return self.refs.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else None)


class HubStandIn(ThreadingHTTPServer):
    """Serves on a free port of this machine. ``refuse(method, path)`` may return a status to answer with instead."""

    daemon_threads = True

    def __init__(self, token):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.repositories = {}
        self.stored = {}  # large files by sha256
        self.requests = []
        self.refuse = lambda method, path: None
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repo_id, revision="main"):
        repository = self.repositories[repo_id]
        return repository.commits[repository.commit_of(revision)]

    def uploads(self):
        return [path.rpartition("/")[2] for method, path in self.requests if method == "PUT"]


def use(server, monkeypatch):
    """Let the client in this process talk to ``server``, whatever the environment says; large files go by LFS."""
    settings = {
        "ENDPOINT": server.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", server.token)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer("GET")

    def do_HEAD(self):
        self.answer("HEAD")

    def do_POST(self):
        self.answer("POST")

    def do_PUT(self):
        self.answer("PUT")

    def answer(self, method):
        path = urlparse(self.path).path
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.requests.append((method, path))
            status = self.server.refuse(method, path)
            is_known = self.headers.get("Authorization") == f"Bearer {self.server.token}"
            if status is not None:
                self.send(status, {"error": f"refused, with {self.headers.get('Authorization')}"})
            elif method == "PUT":
                self.server.stored[path.rpartition("/")[2]] = body
                self.send(200, {})
            elif not is_known:
                self.send(401, {"error": "Invalid credentials"})
            else:
                self.route(method, [unquote(part) for part in path.strip("/").split("/")], body)

    def route(self, method, parts, body):
        match method, *parts:
            case "GET", "api", "whoami-v2":
                self.send(200, {"name": "me", "type": "user"})
            case "POST", "api", "validate-yaml":
                content = json.loads(body)["content"]
                self.send(200 if content.startswith("---\n") else 400, {"errors": [], "warnings": []})
            case "POST", "api", "repos", "create":
                self.create(json.loads(body))
            case method, "api", "models", owner, name, *rest if f"{owner}/{name}" in self.server.repositories:
                self.on_repository(method, self.server.repositories[f"{owner}/{name}"], f"{owner}/{name}", rest, body)
            case method, owner, name, *rest if f"{owner}/{name.removesuffix('.git')}" in self.server.repositories:
                repo_id = f"{owner}/{name.removesuffix('.git')}"
                self.on_files(method, self.server.repositories[repo_id], rest, body)
            case _:
                self.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def create(self, wanted):
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        self.server.repositories[repo_id] = Repository(wanted.get("visibility") == "private")
        self.send(200, {"url": f"{self.server.address}/{repo_id}"})

    def on_repository(self, method, repository, repo_id, rest, body):
        match method, *rest:
            case "GET", *place if not place or place[0] == "revision":
                commit = repository.commit_of(place[1] if place else "main")
                siblings = [{"rfilename": name} for name in repository.commits.get(commit, ())]
                facts = {"id": repo_id, "sha": commit, "private": repository.private, "siblings": siblings}
                self.send(200, facts) if commit else self.missing_revision()
            case "GET", "refs":
                kinds = {"branches": repository.refs, "tags": repository.tags}
                refs = {
                    kind: [{"name": name, "ref": f"refs/{name}", "targetCommit": commit} for name, commit in of.items()]
                    for kind, of in kinds.items()
                }
                self.send(200, {**refs, "converts": []})
            case "GET", "tree", revision, *_:
                files = repository.commits.get(repository.commit_of(revision), {})
                self.send(200, [self.tree_entry(name, content) for name, content in files.items()])
            case "POST", "branch", name:
                known = name in repository.refs
                repository.refs.setdefault(name, repository.refs["main"])
                self.send(409 if known else 200, {"error": "Reference already exists"} if known else {})
            case "POST", "tag", revision:
                repository.tags[json.loads(body)["tag"]] = repository.commit_of(revision)
                self.send(200, {})
            case "POST", "preupload", revision:
                files = repository.commits[repository.commit_of(revision)]
                self.send(200, {"files": [self.mode(file, files) for file in json.loads(body)["files"]]})
            case "POST", "commit", revision:
                self.commit(repository, repo_id, revision, [json.loads(line) for line in body.splitlines()])

    def mode(self, file, files):
        is_large = file["path"].endswith((".safetensors", ".pt"))
        facts = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
        return {**facts, "oid": _oid(files[file["path"]], is_large) if file["path"] in files else None}

    def tree_entry(self, name, content):
        return {"type": "file", "path": name, "size": len(content), "oid": _oid(content, False)}

    def commit(self, repository, repo_id, branch, lines):
        files = dict(repository.commits[repository.refs[branch]])
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.stored[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = f"{len(repository.commits):040x}"
        repository.commits[commit] = files
        repository.refs[branch] = commit
        self.send(200, {"commitUrl": f"{self.server.address}/{repo_id}/commit/{commit}", "commitOid": commit})

    def on_files(self, method, repository, rest, body):
        match method, *rest:
            case "POST", "info", "lfs", "objects", "batch":
                wanted = json.loads(body)["objects"]
                self.send(200, {"transfer": "basic", "objects": [self.action(one) for one in wanted]})
            case _, "resolve", revision, *path:
                commit = repository.commit_of(revision)
                content = repository.commits[commit]["/".join(path)]
                headers = {"X-Repo-Commit": commit, "ETag": f'"{_oid(content, False)}"'}
                self.send_bytes(200, content, headers, method != "HEAD")

    def action(self, one):
        place = {"href": f"{self.server.address}/storage/{one['oid']}"}
        return one if one["oid"] in self.server.stored else {**one, "actions": {"upload": place}}

    def missing_revision(self):
        self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})

    def send(self, status, content, headers=None):
        headers = {"Content-Type": "application/json", **(headers or {})}
        if isinstance(content, dict) and "error" in content:
            headers["X-Error-Message"] = content["error"]
        self.send_bytes(status, json.dumps(content).encode(), headers)

    def send_bytes(self, status, content, headers, with_body=True):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def _oid(content, is_large):
    if is_large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
