"""A stand-in for the hub: the endpoints that an upload uses, on this machine; it keeps every byte that it is sent."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ruamel.yaml import YAML

LARGE = (".safetensors", ".onnx", ".bin")
TYPES: dict[str, type] = {
    "license": str, "library_name": str, "pipeline_tag": str, "tags": list, "datasets": list, "metrics": list,
    "model-index": list,
}  # fmt: skip


@dataclass
class Hub:
    """What the server knows and has seen."""

    owner: str = "me"
    token: str = "hf_write"
    repos: dict[str, bool] = field(default_factory=dict)
    """Name -> whether it is private."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """sha256 -> large file."""
    messages: list[str] = field(default_factory=list)
    url: str = ""
    requests: int = 0

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """Status and JSON of a request."""
        self.requests += 1
        if path == "/api/validate-yaml":  # open to everybody, as on the hub
            found = head_problems(json.loads(body)["content"])
            listed = {"errors": [{"message": problem} for problem in found], "warnings": []}
            return (400, {**listed, "error": "Invalid metadata"}) if found else (200, listed)
        if token != self.token:
            return 401, {"error": "Invalid credentials in Authorization header"}
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if parts[0] == "lfs":
            assert hashlib.sha256(body).hexdigest() == parts[1]
            self.objects[parts[1]] = body
            return 200, {}
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2]).removesuffix(".git")
        if name not in self.repos:
            return 404, {"error": "Repository not found"}
        if method == "GET":
            return 200, {"id": name, "private": self.repos[name], "sha": "0" * 40, "siblings": []}
        if not name.startswith(f"{self.owner}/"):
            return 403, {"error": "You don't have the rights to write"}
        return 200, self._write(name, parts[-1] if parts[-1] == "batch" else parts[4], body)

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        owner = wanted.get("organization") or self.owner
        name = f"{owner}/{wanted['name']}"
        if owner != self.owner:
            return 403, {"error": f"You don't have the rights to create a model under the namespace {owner!r}"}
        found = {"url": f"{self.url}/{name}", "name": name}
        if name in self.repos:
            return 409, {"error": "You already created this model repo", **found}
        self.repos[name] = wanted.get("visibility") == "private"
        return 200, found

    def _write(self, name: str, what: str, body: bytes) -> Any:
        if what == "preupload":
            modes = ((f["path"], "lfs" if f["path"].endswith(LARGE) else "regular") for f in json.loads(body)["files"])
            return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]}
        if what == "batch":
            oids = [(each["oid"], each["size"]) for each in json.loads(body)["objects"]]
            upload = [{"upload": {"href": f"{self.url}/lfs/{oid}"}} for oid, _ in oids]
            pairs = zip(oids, upload, strict=True)
            return {
                "transfer": "basic",
                "objects": [{"oid": o, "size": n, "authenticated": True, "actions": up} for (o, n), up in pairs],
            }
        assert what == "commit", what
        held = self.files.setdefault(name, {})
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.messages.append(value["summary"])
            elif entry["key"] == "lfsFile":
                held[value["path"]] = self.objects[value["oid"]]
            else:
                held[value["path"]] = base64.b64decode(value["content"])
        return {"commitUrl": f"{self.url}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True}


def head_problems(content: str) -> list[str]:
    """Return what is wrong with the metadata of a card, by the types that the hub's documentation states."""
    found = YAML(typ="safe").load(content.split("---\n")[1])
    if not isinstance(found, dict):
        return ["the metadata is no mapping"]
    problems = [f"{field}: expected {kind.__name__}" for field, kind in TYPES.items()
                if not isinstance(found.get(field, kind()), kind)]  # fmt: skip
    for entry in found.get("model-index", []):
        for part in entry["results"]:
            problems += [f"model-index: {key} is missing" for key in ("task", "dataset", "metrics") if key not in part]
            if not {"name", "type"} <= part.get("dataset", {}).keys():
                problems.append("model-index: a data set needs a name and a type")
    return problems


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            token = hub.token if self.path.startswith("/lfs/") else token  # such addresses are signed, as on the hub
            status, said = hub.answer(self.command, self.path.partition("?")[0], body, token)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status >= 400:
                self.send_header("X-Error-Message", said["error"])
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
