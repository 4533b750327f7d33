"""HubSpot's contract as the table beside this file has it, and an OpenAPI document made of it.

HubSpot's own OpenAPI documents are no part of this project. Where they are at hand (``HUBPREFS_SPECS`` names their
folder), :func:`distilled` turns one into the form of the table. The document made of the table has what recorded
live answers add to HubSpot's:

* Optional members of answers may be null, although no schema of HubSpot's is nullable.
* An entry of ``errors`` in a batch answer needs no ``context``, ``errors`` and ``links``: HubSpot's own sample has
  none.
* Answers have no other members than the table names. Error bodies may.
"""

from __future__ import annotations

import json
import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("contract.toml").read_text(encoding="utf-8"))
VERSIONS: list[str] = TABLE["versions"]
OPERATIONS: dict[str, dict[str, Any]] = TABLE["operations"]
_SCOPE = "communication_preferences."
_BASIC: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "number": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
}


# From the table to an OpenAPI document ------------------------------------------------------------------


def scopes_of(operation: dict[str, Any]) -> set[frozenset[str]]:
    """Return the alternatives of an operation's scopes."""
    return {frozenset(_SCOPE + each for each in one.split(" + ")) for one in operation["scopes"]}


def sent_types() -> set[str]:
    """Return the types of request bodies, and of what is in them."""
    found = {each["body"] for each in OPERATIONS.values() if "body" in each}
    for name in list(found):
        found |= {kind.strip("?").removesuffix("[]") for kind in TABLE["types"][name].values()}
    return found & set(TABLE["types"])


@cache
def document(version: str) -> dict[str, Any]:
    """Return the OpenAPI document of a version."""
    paths: dict[str, Any] = {}
    for name, operation in OPERATIONS.items():
        method, path = name.split(" ")
        made = paths.setdefault(f"/communication-preferences/{version}/{path}", {})
        made[method.lower()] = _operation(path, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Communication preferences", "version": version},
        "paths": paths,
        "components": {"schemas": {name: _type(name) for name in TABLE["types"]}},
    }


def operation_of(version: str, name: str) -> dict[str, Any]:
    """Return an operation of the document by its name in the table, such as ``GET definitions``."""
    method, path = name.split(" ")
    found: dict[str, Any] = document(version)["paths"][f"/communication-preferences/{version}/{path}"]
    operation: dict[str, Any] = found[method.lower()]
    return operation


def _operation(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "query", "required": not kind.endswith("?"), "schema": _schema(kind.strip("?"))}
        for name, kind in operation.get("query", {}).items()
    ]
    if "{" in path:
        named = path.partition("{")[2].partition("}")[0]
        parameters.append({"name": named, "in": "path", "required": True, "schema": _schema("text")})
    made: dict[str, Any] = {
        "parameters": parameters,
        "responses": {status: _content(_answer(answer)) for status, answer in operation["answers"].items()},
    }
    made["responses"]["default"] = _content(_schema(TABLE["errors"]))
    if "body" in operation:
        made["requestBody"] = {**_content(_schema(operation["body"])), "required": True}
    return made


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "", "content": {"application/json": {"schema": schema}}}


def _answer(answer: str) -> dict[str, Any]:
    if not answer.startswith("Results of "):
        return _schema(answer)
    item, _, without = answer.removeprefix("Results of ").partition(", no ")
    members = {name: kind for name, kind in TABLE["types"]["Results"].items() if name not in _errors(without)}
    return _object({**members, "results": f"{item}[]"}, nullable=True)


def _errors(without: str) -> tuple[str, ...]:
    return ("errors", "numErrors") if without else ()


def _type(name: str) -> dict[str, Any]:
    members = dict(TABLE["types"][name])
    if name == "StandardError":
        members |= {each: f"{members[each]}?" for each in ("context", "errors", "links")}
    made = _object(members, nullable=name not in sent_types())
    if name in sent_types() or name == TABLE["errors"]:
        del made["additionalProperties"]
    return made


def _object(members: dict[str, str], *, nullable: bool) -> dict[str, Any]:
    properties = {}
    for name, kind in members.items():
        made = properties[name] = _schema(kind.strip("?"))
        if nullable and kind.endswith("?") and "type" in made:
            made["type"] = [made["type"], "null"]
            made |= {"enum": [*made["enum"], None]} if "enum" in made else {}
    required = [name for name, kind in members.items() if not kind.endswith("?")]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(kind: str) -> dict[str, Any]:
    if kind.endswith("[]"):
        return {"type": "array", "items": _schema(kind.removesuffix("[]"))}
    if kind in TABLE["words"]:
        return {"type": "string", "enum": list(TABLE["words"][kind])}
    return dict(_BASIC[kind]) if kind in _BASIC else {"$ref": f"#/components/schemas/{kind}"}


# From HubSpot's document to the table -------------------------------------------------------------------


def published(version: str) -> dict[str, Any] | None:
    """Return HubSpot's own document of a version, or None where it is not at hand."""
    folder = os.environ.get("HUBPREFS_SPECS")
    file = Path(folder or ".") / f"{version}.json"
    return json.loads(file.read_text(encoding="utf-8")) if folder and file.is_file() else None


def distilled(published: dict[str, Any]) -> dict[str, Any]:
    """Return the operations and types of a document of HubSpot's, in the form of the table."""
    schemas = published["components"]["schemas"]
    operations = {}
    for path, item in published["paths"].items():
        for method, said in item.items():
            name = f"{method.upper()} {path.split('/', 3)[3]}"
            operations[name] = _distilled_operation(said, schemas)
    types = {
        name: _members(schema) for name, schema in schemas.items() if "results" not in schema["properties"]
    }
    return {"operations": operations, "types": types}


def _distilled_operation(said: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    answers = {
        status: _distilled_answer(_referred(each), schemas)
        for status, each in said["responses"].items()
        if status != "default"
    }
    query = {
        each["name"]: _kind(each["schema"]) + ("" if each["required"] else "?")
        for each in said.get("parameters", [])
        if each["in"] == "query"
    }
    scopes = [
        " + ".join(sorted(scope.removeprefix(_SCOPE) for scope in alternative))
        for block in said["security"]
        for alternative in block.values()
    ]
    made: dict[str, Any] = {"scopes": sorted(scopes), "answers": answers}
    if query:
        made["query"] = query
    if "requestBody" in said:
        made["body"] = _referred(said["requestBody"])
    return made


def _distilled_answer(name: str, schemas: dict[str, Any]) -> str:
    members = _members(schemas[name])
    if "results" not in members:
        return name
    item = members.pop("results").removesuffix("[]")
    whole = TABLE["types"]["Results"]
    if members == whole:
        return f"Results of {item}"
    if members == {each: kind for each, kind in whole.items() if each not in _errors("errors")}:
        return f"Results of {item}, no errors"
    return f"{name}: {members}"


def _referred(content: dict[str, Any]) -> str:
    (kind,) = content["content"].values()
    reference: str = kind["schema"]["$ref"]
    return reference.rpartition("/")[2]


def _members(schema: dict[str, Any]) -> dict[str, str]:
    required = schema.get("required", ())
    return {
        name: _kind(each) + ("" if name in required else "?") for name, each in schema["properties"].items()
    }


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        named = [name for name, words in TABLE["words"].items() if set(words) == set(schema["enum"])]
        return named[0] if named else f"one of {schema['enum']}"
    if schema["type"] == "array":
        return f"{_kind(schema['items'])}[]"
    wanted = {
        name: schema[name] for name in ("type", "format") if name in schema and schema[name] not in _SIZES
    }
    return next((name for name, basic in _BASIC.items() if basic == wanted), str(wanted))


_SIZES = ("int32", "int64")
