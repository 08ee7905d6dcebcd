#!/usr/bin/env python3
"""Loads the dashboards of this folder into Superset, then queries every chart.

    load.py SUPERSET DATABASE

SUPERSET is the address of Superset, for example http://localhost:8088. DATABASE is the warehouse
without its password, for example my_bi@db.example.com:5432/warehouse?sslmode=verify-full.
SUPERSET_USER, SUPERSET_PASSWORD and WAREHOUSE_PASSWORD are read from the environment; what is
missing is asked for. The user of Superset must be an administrator.

What was loaded before is replaced: charts that you changed in Superset are lost, copies are not.
The exit code is 1 if a chart has an error. A chart without rows is only reported.
"""

import getpass
import http.cookiejar
import io
import json
import os
import pathlib
import sys
import urllib.error
import urllib.request
import uuid
import zipfile

FOLDER = pathlib.Path(__file__).resolve().parent
DATABASE_FILE = "databases/warehouse.yaml"
PLACEHOLDER = "BI_LOGIN:XXXXXXXXXX@DATABASE_HOST:5432/DATABASE_NAME?sslmode=prefer"


class Superset:
    """A session with the API."""

    def __init__(self, address, user, password):
        self.address = address.rstrip("/")
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(cookies)
        self.headers = {"Referer": self.address}
        login = {"username": user, "password": password, "provider": "db", "refresh": False}
        token = self.call("POST", "security/login", login)["access_token"]
        self.headers["Authorization"] = f"Bearer {token}"
        self.headers["X-CSRFToken"] = self.call("GET", "security/csrf_token/")["result"]

    def call(self, method, path, body=None, content="application/json"):
        data = body
        if body is not None and content == "application/json":
            data = json.dumps(body).encode()
        headers = {**self.headers, "Content-Type": content} if data is not None else self.headers
        url = f"{self.address}/api/v1/{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=300) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise RuntimeError(f"{method} {path}: HTTP {error.code}: {text}") from None
        except urllib.error.URLError as error:
            raise RuntimeError(f"{self.address} does not respond: {error.reason}") from None

    def all(self, what, columns):
        """Id and columns of everything of a kind, page by page."""
        page, found = 0, []
        while True:
            query = f"(columns:!(id,{columns}),page:{page},page_size:100)"
            part = self.call("GET", f"{what}/?q={query}")
            found += part["result"]
            page += 1
            if len(found) >= part["count"] or not part["result"]:
                return found


def bundle(database):
    """The ZIP file, with the address of the warehouse."""
    login, _, place = database.rpartition("@")
    if not login or not place or ":" in login:
        sys.exit("load.py: write the database as LOGIN@HOST:PORT/NAME, without the password")
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(FOLDER.rglob("*.yaml")):
            name, text = path.relative_to(FOLDER).as_posix(), path.read_text(encoding="utf-8")
            if name == "metadata.yaml":
                # This type replaces charts and datasets too; an import of dashboards does not.
                text = text.replace("type: Dashboard", "type: assets")
            if name == DATABASE_FILE:
                if PLACEHOLDER not in text:
                    sys.exit(f"load.py: {name} must have {PLACEHOLDER} in place of the database")
                text = text.replace(PLACEHOLDER, f"{login}:XXXXXXXXXX@{place}")
            archive.writestr(f"tidegate/{name}", text)
    return memory.getvalue()


def form(fields, name, content):
    """A body of the type multipart/form-data with one file, and its content type."""
    edge = uuid.uuid4().hex
    start = f"--{edge}\r\nContent-Disposition: form-data; name="
    text = "".join(f'{start}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
    text += f'{start}"{name}"; filename="tidegate.zip"\r\nContent-Type: application/zip\r\n\r\n'
    body = text.encode() + content + f"\r\n--{edge}--\r\n".encode()
    return body, f"multipart/form-data; boundary={edge}"


def ours(kind):
    """The uuids of the files in a folder."""
    texts = [path.read_text(encoding="utf-8") for path in (FOLDER / kind).rglob("*.yaml")]
    return {line[6:] for text in texts for line in text.splitlines() if line.startswith("uuid: ")}


def query(superset, chart):
    """The number of rows of a chart, over all its queries, or its error."""
    try:
        results = superset.call("GET", f"chart/{chart['id']}/data/")["result"]
    except RuntimeError as error:
        return None, str(error)
    errors = [result["error"] for result in results if result.get("error")]
    return sum(result["rowcount"] for result in results), "; ".join(errors)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    address, database = sys.argv[1:]
    zipped = bundle(database)
    ask = lambda name, question: os.environ.get(name) or getpass.getpass(f"{question}: ")
    user = os.environ.get("SUPERSET_USER") or input("user of Superset: ")
    superset = Superset(address, user, ask("SUPERSET_PASSWORD", f"password of {user}"))
    passwords = {DATABASE_FILE: ask("WAREHOUSE_PASSWORD", f"password of {database.split('@')[0]}")}
    body, content = form({"passwords": json.dumps(passwords)}, "bundle", zipped)
    superset.call("POST", "assets/import/", body, content)

    # The descriptions of the columns come from the comments in the database.
    uuids = ours("datasets")
    datasets = [one for one in superset.all("dataset", "uuid,kind") if one["uuid"] in uuids]
    for one in datasets:
        if one["kind"] == "physical":
            superset.call("PUT", f"dataset/{one['id']}/refresh")

    uuids = ours("charts")
    charts = [one for one in superset.all("chart", "uuid,slice_name") if one["uuid"] in uuids]
    failed = 0
    for chart in sorted(charts, key=lambda one: one["id"]):
        rows, error = query(superset, chart)
        failed += bool(error)
        print(f"{'-' if rows is None else rows:>6}  {chart['slice_name']}")
        if error:
            print(f"        error: {error}")
    print(f"{len(datasets)} datasets, {len(charts)} charts, {failed} with an error")
    print(f"{superset.address}/dashboard/list/")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"load.py: {error}")
    except EOFError:
        sys.exit("load.py: set SUPERSET_USER, SUPERSET_PASSWORD and WAREHOUSE_PASSWORD")
